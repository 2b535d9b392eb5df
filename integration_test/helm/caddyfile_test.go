package helm_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// keys makes a certificate and its key, as the Secret has them.
func keys(t *testing.T, folder string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"graph.example.net"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(folder, "certificate.pem"), filepath.Join(folder, "key.pem")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: bare}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// Caddy, with the plugin, takes each Caddyfile that the chart makes.
func TestTheCaddyfilesAreValid(t *testing.T) {
	caddy := filepath.Join(os.Getenv("CADDY_BUILDS"), "newest")
	if _, err := os.Stat(caddy); err != nil || !filepath.IsAbs(caddy) { // not in CI
		caddy = filepath.Join(t.TempDir(), "caddy")
		build := exec.Command("go", "build", "-pgo=off", "-o", caddy, "./cmd/caddy") // the profile only takes time here
		build.Dir, build.Env = "../..", append(os.Environ(), "GOWORK=")
		if said, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
	}
	for name, given := range files(t) {
		environment, caddyfile := []string{"COOKIE_KEY=0123456789abcdef"}, ""
		for _, document := range mustRender(t, given) {
			configMap, ok := decode(t, document).(*corev1.ConfigMap)
			if !ok {
				continue
			}
			if content, found := configMap.Data["Caddyfile"]; found {
				caddyfile = content
				continue
			}
			for variable, value := range configMap.Data {
				environment = append(environment, variable+"="+value)
			}
		}
		for line := range strings.SplitSeq(caddyfile, "\n") {
			if strings.TrimRight(line, " ") != line {
				t.Errorf("with %s a line ends in blanks: %q", name, line)
			}
		}
		// What the Secret has is elsewhere here, and only what the Deployment mounts is there.
		home := t.TempDir()
		reads := strings.Count(caddyfile, "/tls/tls.crt") + strings.Count(caddyfile, "/tls/tls.key")
		mounts := the[*appsv1.Deployment](t, mustRender(t, given)).Spec.Template.Spec.Containers[0].VolumeMounts
		if slices.ContainsFunc(mounts, func(mount corev1.VolumeMount) bool { return mount.MountPath == "/tls" }) {
			if reads != 2 {
				t.Errorf("with %s the Caddyfile does not read the Secret:\n%s", name, caddyfile)
			}
			certificate, key := keys(t, home)
			caddyfile = strings.NewReplacer("/tls/tls.crt", certificate, "/tls/tls.key", key).Replace(caddyfile)
		} else if reads != 0 {
			t.Errorf("with %s the Caddyfile reads a Secret that the pod has not:\n%s", name, caddyfile)
		}
		file := filepath.Join(home, "Caddyfile")
		if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
			t.Fatal(err)
		}
		validate := exec.Command(caddy, "validate", "--adapter", "tigergraph", "--config", file)
		validate.Env = append(os.Environ(), append(environment, "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)...)
		said, err := validate.CombinedOutput()
		if err != nil || !bytes.Contains(said, []byte("Valid configuration")) {
			t.Errorf("with %s: %v\n%s\n%s", name, err, said, caddyfile)
		}
	}
}
