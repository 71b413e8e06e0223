// Command image writes an OCI image of programs: one layer with the given files and nothing else. There is no base
// image, since the programs need none. The same files and time give the same bytes, so anybody who builds the same
// commit can check the digest, which the command prints.
//
//	image -o FILE -arch amd64=DIR -arch arm64=DIR -version V    (SOURCE_DATE_EPOCH is the time)
//
// FILE is an OCI archive (tar) for podman load, docker load, skopeo copy oci-archive: and buildah pull.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	b := builder{platforms: map[string]string{}}
	out := flag.String("o", "", "file to write")
	flag.StringVar(&b.version, "version", "", "of the programs")
	flag.Func("arch", "`ARCH=DIR`: programs for an architecture (repeatable, in order)", func(s string) error {
		arch, dir, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("want ARCH=DIR")
		}
		b.order, b.platforms[arch] = append(b.order, arch), dir
		return nil
	})
	flag.Parse()
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err == nil {
		b.at = time.Unix(epoch, 0).UTC()
		err = b.write(*out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Println(b.digest)
}

// Media types of the OCI image specification, version 1.
const (
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
)

// descriptor points to a blob (OCI descriptor).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type builder struct {
	version   string
	order     []string
	platforms map[string]string
	at        time.Time
	archive   *tar.Writer
	digest    string
}

// user runs the programs; it is not root. A port below 1024 and XDP need capabilities, which only root gets.
const user = "65532:65532"

func (b *builder) write(out string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	b.archive = tar.NewWriter(f)
	if err := b.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	var manifests []descriptor
	for _, arch := range b.order {
		d, err := b.image(arch)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		manifests = append(manifests, d)
	}
	index, err := b.json(typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": manifests})
	if err != nil {
		return err
	}
	b.digest = index.Digest
	index.Annotations = map[string]string{"org.opencontainers.image.ref.name": b.version, "io.containerd.image.name": "dtlsguard:" + b.version}
	top, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{index}})
	if err == nil {
		err = b.file("index.json", top)
	}
	if err == nil {
		err = b.archive.Close()
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// image adds one platform's image.
func (b *builder) image(arch string) (descriptor, error) {
	layer, err := b.layer(b.platforms[arch])
	if err != nil {
		return descriptor{}, err
	}
	compressed := new(bytes.Buffer)
	z, _ := gzip.NewWriterLevel(compressed, gzip.BestCompression) // the level is valid
	if _, err := z.Write(layer); err != nil {
		return descriptor{}, err
	}
	if err := z.Close(); err != nil {
		return descriptor{}, err
	}
	blob, err := b.blob(typeLayer, compressed.Bytes())
	if err != nil {
		return descriptor{}, err
	}
	config, err := b.json(typeConfig, map[string]any{
		"created": b.at.Format(time.RFC3339), "architecture": arch, "os": "linux",
		"config": map[string]any{
			"User": user, "Entrypoint": []string{"/dtlsguard"}, "Cmd": []string{"run"}, "StopSignal": "SIGTERM",
			"Env": []string{"PATH=/"},
			"Labels": map[string]string{
				"org.opencontainers.image.title": "dtlsguard", "org.opencontainers.image.version": b.version, "org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
		"history": []map[string]any{{"created": b.at.Format(time.RFC3339), "created_by": "deploy/image"}},
	})
	if err != nil {
		return descriptor{}, err
	}
	d, err := b.json(typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": []descriptor{blob}})
	d.Platform = &platform{arch, "linux"}
	return d, err
}

// layer is a tar of the programs in dir and of the directory for the control socket, which their user can write to.
func (b *builder) layer(dir string) ([]byte, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*")) // sorted
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no programs in %s: %w", dir, err)
	}
	layer := new(bytes.Buffer)
	w := tar.NewWriter(layer)
	head := func(h tar.Header) error {
		h.ModTime, h.Format = b.at, tar.FormatUSTAR
		return w.WriteHeader(&h)
	}
	for _, d := range []tar.Header{{Name: "run/", Mode: 0o755}, {Name: "run/dtlsguard/", Mode: 0o755, Uid: 65532, Gid: 65532}} {
		d.Typeflag = tar.TypeDir
		if err := head(d); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err == nil {
			err = head(tar.Header{Typeflag: tar.TypeReg, Name: filepath.Base(name), Mode: 0o755, Size: int64(len(content))})
		}
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			return nil, err
		}
	}
	err = w.Close() // writes the end of the archive
	return layer.Bytes(), err
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// json adds v as a blob, with sorted keys.
func (b *builder) json(mediaType string, v any) (descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return b.blob(mediaType, text)
}

func (b *builder) blob(mediaType string, content []byte) (descriptor, error) {
	d := descriptor{MediaType: mediaType, Digest: digest(content), Size: len(content)}
	return d, b.file("blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:"), content)
}

func (b *builder) file(name string, content []byte) error {
	err := b.archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: b.at, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = io.Copy(b.archive, bytes.NewReader(content))
	}
	return err
}
