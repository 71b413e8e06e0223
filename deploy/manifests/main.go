// Command manifests checks files of Kubernetes and of Compose against their types: the API must know every field,
// and every reference within a file must resolve. Files named compose* are Compose's. It is a separate module, so that the
// guard's module has none of these dependencies.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

func main() {
	failed := false
	for _, file := range os.Args[1:] {
		check := kubernetes
		if strings.HasPrefix(filepath.Base(file), "compose") {
			check = compose
		}
		if err := check(file); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			failed = true
		}
	}
	if failed || len(os.Args) == 1 {
		os.Exit(1)
	}
}

// compose reads a file as docker compose does, with values for its variables.
func compose(file string) error {
	o, err := cli.NewProjectOptions([]string{file}, cli.WithEnv([]string{"SERVER_IMAGE=server"}), cli.WithName("check"))
	if err != nil {
		return err
	}
	p, err := o.LoadProject(context.Background())
	if err == nil && len(p.Services) == 0 {
		err = errors.New("no service")
	}
	return err
}

// kubernetes checks all objects of a file.
func kubernetes(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	configs, sets := make(map[string]bool), []appsv1.DaemonSet{}
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			return err
		}
		switch kind.APIVersion + "/" + kind.Kind {
		case "v1/ConfigMap":
			var c corev1.ConfigMap
			if err := yaml.UnmarshalStrict(doc, &c); err != nil {
				return err
			}
			configs[c.Name] = true
		case "apps/v1/DaemonSet":
			var d appsv1.DaemonSet
			if err := yaml.UnmarshalStrict(doc, &d); err != nil {
				return err
			}
			sets = append(sets, d)
		default:
			return fmt.Errorf("%s/%s: not a kind that is known here", kind.APIVersion, kind.Kind)
		}
	}
	if len(sets) == 0 {
		return errors.New("no DaemonSet")
	}
	for i := range sets {
		if err := daemonSet(&sets[i], configs); err != nil {
			return fmt.Errorf("DaemonSet %s: %w", sets[i].Name, err)
		}
	}
	return nil
}

// daemonSet checks the references that the API server would check.
func daemonSet(d *appsv1.DaemonSet, configs map[string]bool) (err error) {
	s, e := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if e != nil || s.Empty() || !s.Matches(labels.Set(d.Spec.Template.Labels)) {
		err = errors.Join(e, errors.New("the selector does not select the pods"))
	}
	pod := &d.Spec.Template.Spec
	volumes := make(map[string]bool)
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && !configs[v.ConfigMap.Name] {
			err = errors.Join(err, fmt.Errorf("no ConfigMap %q", v.ConfigMap.Name))
		}
	}
	if len(pod.Containers) == 0 {
		err = errors.Join(err, errors.New("no container"))
	}
	for i := range pod.Containers {
		err = errors.Join(err, container(&pod.Containers[i], volumes))
	}
	return err
}

func container(c *corev1.Container, volumes map[string]bool) (err error) {
	if c.Image == "" {
		err = errors.New("a container without an image")
	}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			err = errors.Join(err, fmt.Errorf("no volume %q", m.Name))
		}
	}
	ports := make(map[string]bool)
	for _, p := range c.Ports {
		ports[p.Name] = true
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
		if p == nil || p.HTTPGet == nil || !ports[p.HTTPGet.Port.StrVal] {
			err = errors.Join(err, errors.New("a probe is missing or names an unknown port"))
		}
	}
	return err
}
