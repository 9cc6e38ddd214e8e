package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
)

func pemOf(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestPrivateKeysOfEveryFormAreRead(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2047)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), nil)
	pkcs8 := func(k any) string {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		return pemOf(t, "PRIVATE KEY", der, err)
	}
	for name, text := range map[string]string{
		"PKCS #1": pkcs1, "PKCS #8": pkcs8(key), "white space": "\n " + pkcs1 + " \n", "CR LF": strings.ReplaceAll(pkcs1, "\n", "\r\n"),
		"escaped": strings.ReplaceAll(pkcs1, "\n", `\n`), "escaped PKCS #8": strings.ReplaceAll(pkcs8(key), "\n", `\n`),
	} {
		if got, err := ParsePrivateKey(text); err != nil || !got.Equal(key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	for name, text := range map[string]string{
		"empty": "", "text": "canary", "cut": pkcs1[:len(pkcs1)/2], "weak": pkcs8(weak), "another kind": pkcs8(curve),
		"public": pemOf(t, "PUBLIC KEY", public, err), "nonsense": pemOf(t, "RSA PRIVATE KEY", []byte("canary"), nil),
	} {
		got, err := ParsePrivateKey(text)
		if err == nil || got != nil {
			t.Errorf("%s is taken", name)
			continue
		}
		wantSecrecy(t, err, "canary", "MII", pkcs1[40:60])
	}
}
