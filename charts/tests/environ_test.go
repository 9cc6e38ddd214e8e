package tests

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func portText(n int32) string { return strconv.Itoa(int(n)) }

// numbered puts n in the place of a number in a variable's name.
func numbered(name string) string {
	return regexp.MustCompile(`_\d+_`).ReplaceAllString(name, "_n_")
}

// environ gives the sidecar's environment as the kubelet would make it, with
// files in dir. What comes from objects that are not there is made up.
func environ(t *testing.T, objects []runtime.Object, pod *core.PodTemplateSpec, dir string) map[string]string {
	t.Helper()
	c, _ := sidecar(t, pod)
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			for name, value := range configMap(t, objects, from.ConfigMapRef.Name) {
				env[name] = value
			}
		}
	}
	twice := map[string]bool{}
	for _, e := range c.Env {
		if twice[e.Name] {
			t.Errorf("%s is given twice", e.Name)
		}
		twice[e.Name] = true
		env[e.Name] = e.Value
		if e.ValueFrom != nil {
			env[e.Name] = madeUp(t, strings.TrimPrefix(e.Name, "SIDECAR_"))
		}
	}
	files := mounted(t, objects, pod, c)
	for name, value := range env {
		for place, text := range files {
			if value == place {
				env[name] = filepath.Join(dir, filepath.Base(place))
				if err := os.WriteFile(env[name], []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if strings.HasPrefix(env[name], "/etc/token-sidecar/") {
			t.Errorf("%s names %s, which is not mounted", name, value)
		}
	}
	return env
}

func configMap(t *testing.T, objects []runtime.Object, name string) map[string]string {
	t.Helper()
	for _, object := range objects {
		if m, ok := object.(*core.ConfigMap); ok && m.Name == name {
			return m.Data
		}
	}
	t.Errorf("the container needs ConfigMap %s, which is not rendered", name)
	return nil
}

// mounted gives the text of the files that the container sees, by path.
func mounted(t *testing.T, objects []runtime.Object, pod *core.PodTemplateSpec, c core.Container) map[string]string {
	t.Helper()
	files := map[string]string{}
	add := func(place, object, key string) {
		files[place] = madeUp(t, filepath.Base(place))
		for _, o := range objects {
			if s, ok := o.(*core.Secret); ok && s.Name == object {
				if s.StringData[key] == "" {
					t.Errorf("Secret %s has no %s", object, key)
				} else if !strings.HasPrefix(s.StringData[key], "value-of-") {
					files[place] = s.StringData[key]
				}
			}
		}
	}
	// all are the items of a source that names none: every key, under its own name.
	all := func(secret string, items []core.KeyToPath) []core.KeyToPath {
		if len(items) > 0 {
			return items
		}
		for _, o := range objects {
			if s, ok := o.(*core.Secret); ok && s.Name == secret {
				for key := range s.StringData {
					items = append(items, core.KeyToPath{Key: key, Path: key})
				}
			}
		}
		return items
	}
	for _, m := range c.VolumeMounts {
		for _, v := range pod.Spec.Volumes {
			if v.Name != m.Name {
				continue
			}
			if v.Secret != nil {
				for _, item := range all(v.Secret.SecretName, v.Secret.Items) {
					add(filepath.Join(m.MountPath, item.Path), v.Secret.SecretName, item.Key)
				}
			}
			if v.Projected == nil {
				continue
			}
			for _, source := range v.Projected.Sources {
				if source.Secret != nil {
					for _, item := range all(source.Secret.Name, source.Secret.Items) {
						add(filepath.Join(m.MountPath, item.Path), source.Secret.Name, item.Key)
					}
				}
				if source.ConfigMap != nil {
					for _, item := range source.ConfigMap.Items {
						add(filepath.Join(m.MountPath, item.Path), source.ConfigMap.Name, item.Key)
					}
				}
			}
		}
	}
	return files
}

var pair = sync.OnceValues(func() (key, certificate string) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
})

// madeUp is a value that the program takes for the setting.
func madeUp(t *testing.T, name string) string {
	t.Helper()
	key, certificate := pair()
	switch {
	case strings.HasSuffix(name, "PRIVATE_KEY"), name == "REDIS_KEY_FILE":
		return key
	case strings.HasSuffix(name, "CA_FILE"), name == "REDIS_CERT_FILE":
		return certificate
	case name == "REDIS_URL":
		return "rediss://:password@redis.shop.svc:6379/0"
	case name == "REDIS_KEYS":
		ring, err := exec.Command(binary(t), "keygen").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(ring)
	}
	return "made-up-" + strings.ToLower(name)
}

// accepts runs the program with env as far as reading its configuration, and
// returns what it says against it.
func accepts(t *testing.T, env map[string]string) string {
	t.Helper()
	cmd := exec.Command(binary(t), "explain", "GET", "/") // it needs all settings, and nobody else
	cmd.Env = []string{"PATH=/nowhere"}
	for name, value := range env {
		if path, ok := strings.CutPrefix(value, "unix:"); ok {
			value = "unix:" + filepath.Join(t.TempDir(), filepath.Base(path))
		}
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 && strings.Contains(string(out), "verdict   refused") {
		return ""
	}
	return string(out)
}

// TestProgramAcceptsWhatTheChartGives closes the circle: values, manifests,
// environment, program.
func TestProgramAcceptsWhatTheChartGives(t *testing.T) {
	for name, values := range valueSets(t) {
		objects, err := render(t, values)
		if err != nil {
			t.Fatal(err)
		}
		for _, pod := range pods(objects) {
			if fault := accepts(t, environ(t, objects, pod, t.TempDir())); fault != "" {
				t.Errorf("%s: %s", name, fault)
			}
		}
	}
	if accepts(t, map[string]string{"SIDECAR_OCLC_WSKEY": "x", "SIDECAR_ADMIN_LISTEN": ":9090"}) == "" {
		t.Error("a faulty configuration is not noticed")
	}
}

// TestProgramAcceptsTheLongestGracePeriod looks at the most that the schema takes, which is more than the program's drain.
func TestProgramAcceptsTheLongestGracePeriod(t *testing.T) {
	objects, err := render(t, map[string]any{"terminationGracePeriodSeconds": 1200, "example": map[string]any{"enabled": true}})
	if err != nil {
		t.Fatal(err)
	}
	if fault := accepts(t, environ(t, objects, onlyPod(t, objects), t.TempDir())); fault != "" {
		t.Error(fault)
	}
}
