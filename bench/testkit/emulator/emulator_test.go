package emulator

import (
	"bytes"
	"slices"
	"testing"
)

func TestReleases(t *testing.T) {
	for _, c := range []struct {
		name, series, flavour string
		want                  bool
	}{
		{"6.1.0-50-cloud-amd64", "6.1", Cloud, true},
		{"6.12.95+deb12-cloud-amd64", "6.1", Cloud, false},
		{"6.12.90+deb12.1-cloud-amd64", "6.12", Cloud, true},
		{"6.12.95+deb12-cloud-amd64", "6", Cloud, true},
		{"6.12.95+deb12-cloud-amd64", "6", Generic, false},
		{"7.3.4+deb13-amd64", "7", Generic, true},
		{"6.12.95+deb12-cloud-amd64-unsigned", "6.12", Cloud, false},
	} {
		if got := matches(c.name, c.series, c.flavour); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	want := []string{"6.1.0-47-amd64", "6.1.0-50-amd64", "6.12.9+deb12-amd64", "6.12.90+deb12-amd64", "6.12.90+deb12.1-amd64", "7.0.1+deb13-amd64"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, byVersion)
	if !slices.Equal(got, want) {
		t.Errorf("sorted: %v", got)
	}
}

// Entries of an archive start at multiples of four, come after their directories, and end with the trailer.
func TestArchive(t *testing.T) {
	var b bytes.Buffer
	f := Files{"/a/b/file": {Contents: []byte("12345"), Mode: 0o644}, "/a/link": {Link: "b/file"}}
	if err := f.write(newArchive(&b)); err != nil {
		t.Fatal(err)
	}
	var names []string
	for rest := b.Bytes(); len(rest) > 0; {
		if (b.Len()-len(rest))%4 != 0 || !bytes.HasPrefix(rest, []byte("070701")) {
			t.Fatalf("after %v: %q", names, rest[:min(len(rest), 40)])
		}
		size, name := field(t, rest, 6), field(t, rest, 11)
		names = append(names, string(rest[110:110+name-1]))
		end := (110+name+3)&^3 + (size+3)&^3
		rest = rest[end:]
	}
	if want := []string{"a", "a/b", "a/b/file", "a/link", "TRAILER!!!"}; !slices.Equal(names, want) {
		t.Errorf("entries %v, want %v", names, want)
	}
}

// field is a number of the header, 8 hexadecimal digits.
func field(t *testing.T, entry []byte, i int) (n int) {
	t.Helper()
	for _, c := range entry[6+8*i : 14+8*i] {
		digit := bytes.IndexByte([]byte("0123456789abcdef"), c)
		if digit < 0 {
			t.Fatalf("field %d: %q", i, entry[:110])
		}
		n = n<<4 | digit
	}
	return n
}
