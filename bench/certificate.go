package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// keyPair is the files of a certificate for localhost.
type keyPair struct {
	certificate, key string
	both             string // HAProxy wants them in one
}

func newKeyPair(folder string) (keyPair, error) {
	var pair keyPair
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return pair, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return pair, err
	}
	encodedCertificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	encodedKey := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	pair = keyPair{
		certificate: filepath.Join(folder, "certificate.pem"),
		key:         filepath.Join(folder, "key.pem"),
		both:        filepath.Join(folder, "both.pem"),
	}
	for file, content := range map[string][]byte{
		pair.certificate: encodedCertificate,
		pair.key:         encodedKey,
		pair.both:        bytes.Join([][]byte{encodedCertificate, encodedKey}, nil),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return pair, err
		}
	}
	return pair, nil
}
