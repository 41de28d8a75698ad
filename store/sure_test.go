package store

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Only what is certain to have come ends anything: t.now may be a wrong future, and
// is what happens dated by. A token that may have expired is neither let in nor
// refused, when a device was seen is a note, and what is dated later than now was dated
// by a clock that was wrong.
func TestNothingEndsByATimeThatIsNotCertain(t *testing.T) {
	compares := regexp.MustCompile(`(StateAt|Told)\(t\.now|OnShelf\(t\.now|t\.now\.(Before|After|Sub|Compare)|\.(Before|After|Sub|Compare)\(t\.now\)`)
	may := []string{"!t.now.Before(d.validFrom)", "t.now.Sub(d.seenAt)", "!t.now.Before(token.Expires)", "latest.Sub(t.now)", "t.now.After(t.sure)", "removed.After(t.now)", "r.At.After(t.now)"}
	files, err := filepath.Glob("*.go")
	must(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		must(t, err)
		text := string(source)
		for _, allowed := range may {
			text = strings.ReplaceAll(text, allowed, "")
		}
		if found := compares.FindString(text); found != "" {
			t.Errorf("%s: %s; compare with t.sure", file, found)
		}
	}
}
