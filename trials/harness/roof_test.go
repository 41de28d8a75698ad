package harness

import (
	"os/exec"
	"strings"
	"testing"
)

// list runs go list and returns its lines.
func list(t *testing.T, args ...string) []string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go to list packages with")
	}
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Fields(string(out))
}

// fixtures are packages that the program has no use for. mls/mlstest is none of them: it
// makes the objects of welcomed bench and welcomed demo.
var fixtures = []string{"welcomed/trials/", "welcomed/delivery/storetest", "welcomed/mls/mlstest/", "github.com/pb33f/", "testing"}

func TestTheProgramHasNoFixtures(t *testing.T) {
	for _, name := range list(t, "-deps", "welcomed") {
		for _, fixture := range fixtures {
			if name == fixture || strings.HasPrefix(name, fixture) && strings.Contains(fixture, "/") {
				t.Errorf("the program has %s", name)
			}
		}
	}
}

func TestTheHarnessHasOnlyTheClientOfTheProduct(t *testing.T) {
	for _, name := range list(t, "-deps", "welcomed/trials/harness") {
		if strings.HasPrefix(name, "welcomed") && name != "welcomed/trials/harness" && name != "welcomed/client" {
			t.Errorf("the harness imports %s", name)
		}
	}
}
