package mlstest

import (
	"fmt"

	"welcomed/mls"
)

// defaultGroupInfo is about what a GroupInfo without a ratchet tree takes.
const defaultGroupInfo = 400

// Welcome returns a new bare Welcome for the KeyPackages with these refs.
func Welcome(suite mls.CipherSuite, refs ...mls.KeyPackageRef) []byte {
	return WelcomeSize(defaultGroupInfo, suite, refs...)
}

// WelcomeSize is Welcome with an encrypted_group_info of groupInfo bytes, which in
// a real Welcome grows with the group.
func WelcomeSize(groupInfo int, suite mls.CipherSuite, refs ...mls.KeyPackageRef) []byte {
	var secrets []byte
	for _, ref := range refs {
		secrets = append(secrets, EncryptedGroupSecrets(suite, ref)...)
	}
	return mls.SliceWelcome(suite, secrets, Random(groupInfo))
}

// WelcomeFor returns a new bare Welcome for these bare KeyPackages, of which there
// is at least one, all of the same suite.
func WelcomeFor(keyPackages ...[]byte) []byte {
	var suite mls.CipherSuite
	refs := make([]mls.KeyPackageRef, len(keyPackages))
	for i, b := range keyPackages {
		kp := must(mls.ParseKeyPackage(b))
		suite, refs[i] = kp.CipherSuite, kp.Ref()
	}
	return Welcome(suite, refs...)
}

// EncryptedGroupSecrets returns a new entry of a Welcome.
func EncryptedGroupSecrets(suite mls.CipherSuite, ref mls.KeyPackageRef) []byte {
	kemOutput, ciphertext := SecretsSize(suite)
	b := appendVector(nil, []byte(ref))
	b = appendVector(b, Random(kemOutput))
	return appendVector(b, Random(ciphertext))
}

// SecretsSize returns the sizes of what is encrypted in an entry of a Welcome that
// has no path secret and no PSK, which are the smallest that a suite allows.
func SecretsSize(suite mls.CipherSuite) (kemOutput, ciphertext int) {
	switch suite {
	case 1, 3:
		return 32, 51
	case 2:
		return 65, 51
	case 4, 6:
		return 56, 84
	case 5:
		return 133, 84
	case 7:
		return 97, 67
	}
	panic(fmt.Sprintf("mlstest: no cipher suite %s", suite))
}
