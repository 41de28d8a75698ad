package mlstest_test

import (
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

func TestWhatIsMadeIsValid(t *testing.T) {
	for _, suite := range mlstest.Suites {
		s := mlstest.NewSigner(suite, "alice/phone")
		for name, b := range map[string][]byte{
			"plain":                 s.KeyPackage(),
			"last resort":           s.KeyPackage(mlstest.LastResort()),
			"last resort component": s.KeyPackage(mlstest.LastResortComponent(2)),
			"padded":                s.KeyPackage(mlstest.WithPadding(60000)),
			"own keys":              s.KeyPackage(mlstest.WithInitKey(mlstest.KEMKey(suite)), mlstest.WithEncryptionKey(mlstest.KEMKey(suite))),
		} {
			kp, err := mls.ParseKeyPackage(b)
			if err == nil {
				err = kp.Verify()
			}
			if err != nil {
				t.Errorf("%s KeyPackage of %s: %v", name, suite, err)
				continue
			}
			w, err := mls.ParseWelcome(mlstest.WelcomeFor(b))
			if err == nil {
				err = w.Verify()
			}
			if err != nil || w.Secrets[0].NewMember != kp.Ref() {
				t.Errorf("Welcome for a %s KeyPackage of %s: %v", name, suite, err)
			}
		}
	}
}

func TestKeyPackagesDiffer(t *testing.T) {
	s := mlstest.NewSigner(1, "alice/phone")
	if a, b := s.KeyPackage(), s.KeyPackage(); string(a) == string(b) {
		t.Error("two KeyPackages are the same")
	}
}
