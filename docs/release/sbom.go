package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// sbom writes the bill of materials of the binary for t, from the list of modules that the linker
// has put into it. So it names what is in this binary, and not what go.mod needs for tests.
func (r *release) sbom(t target) error {
	content, err := os.ReadFile(r.binary(t))
	if err != nil {
		return err
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	bom := cyclonedx.NewBOM()
	// The number stands for this binary: another one has another, and the same one the same.
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceOID, sum[:]).URN()
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp: r.time.Format(time.RFC3339),
		Component: &cyclonedx.Component{
			BOMRef: "token-sidecar", Type: cyclonedx.ComponentTypeApplication, Name: "token-sidecar", Version: r.version,
			Description: "The program for " + t.os + "/" + t.arch,
			Hashes:      &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
			Licenses:    &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "MIT"}}},
		},
	}
	components := []cyclonedx.Component{library("std", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		components = append(components, ofModule(module))
	}
	bom.Components = &components

	var text bytes.Buffer
	encoder := cyclonedx.NewBOMEncoder(&text, cyclonedx.BOMFileFormatJSON)
	if err := encoder.SetPretty(true).EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return err
	}
	return os.WriteFile(r.file(t.os+"_"+t.arch+".cdx.json"), text.Bytes(), 0o644)
}

func ofModule(m *debug.Module) cyclonedx.Component {
	c := library(m.Path, m.Version)
	// It is a sum over a list of files with their sums, and so not the hash of any file.
	c.Properties = &[]cyclonedx.Property{{Name: "go.sum", Value: m.Sum}}
	return c
}

func library(path, version string) cyclonedx.Component {
	url := "pkg:golang/" + path + "@" + version
	return cyclonedx.Component{BOMRef: url, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: url}
}
