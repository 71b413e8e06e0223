package version

import (
	"os"
	"regexp"
	"testing"
)

// The version is that of the newest entry of CHANGELOG.md, and that of the Helm chart.
func TestVersionIsTheNewestRelease(t *testing.T) {
	for file, first := range map[string]string{
		"../../../CHANGELOG.md":                     `(?m)^## \[(.*)\] - \d{4}-\d\d-\d\d$`,
		"../../../deploy/helm/dtlsguard/Chart.yaml": `(?m)^version: (.*)$`,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(first).FindStringSubmatch(string(text)); m == nil || m[1] != release {
			t.Errorf("%s: newest release %v, want %s", file, m, release)
		}
	}
}

func TestVersion(t *testing.T) {
	if b := Of(); b.Version != release || b.Revision == "" || b.GoVersion == "" {
		t.Errorf("without a tag: %+v", b)
	}
	described, revision = "v1.2.3-4-gabc", "abc"
	defer func() { described, revision = "", "" }()
	if b := Of(); b.Version != "1.2.3-4-gabc" || b.Revision != "abc" {
		t.Errorf("with a tag: %+v", b)
	}
}
