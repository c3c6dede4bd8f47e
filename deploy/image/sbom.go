package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// spdxType is the media type of SPDX in JSON (IANA), by which an image's referrers are told
// apart.
const spdxType = "application/spdx+json"

const unknown = "NOASSERTION" // SPDX's word for what nobody has looked at

// A document is the part of SPDX 2.3 (spdx.github.io/spdx-spec/v2.3) that says what a program
// was built from.
type document struct {
	Version       string         `json:"spdxVersion"`
	DataLicense   string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []spdxPackage  `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	Name     string      `json:"name"`
	ID       string      `json:"SPDXID"`
	Version  string      `json:"versionInfo,omitempty"`
	Location string      `json:"downloadLocation"`
	Analyzed bool        `json:"filesAnalyzed"`
	License  string      `json:"licenseDeclared"`
	Source   string      `json:"sourceInfo,omitempty"`
	Sums     []checksum  `json:"checksums,omitempty"`
	Refs     []reference `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

// sbom lists the modules that a binary was built from, as the Go linker noted them in it,
// the standard library, and the module that the CA certificates come from.
func (r release) sbom(p platform, binary string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("read what %s was built from: %w", binary, err)
	}
	content, err := os.ReadFile(binary) //nolint:gosec // just built
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	d := document{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT",
		Name:      fmt.Sprintf("shoal-%s-%s-%s", r.version, p.os, p.arch),
		Namespace: "https://" + info.Main.Path + "/spdx/" + digest,
		Creation:  creation{Created: r.epoch.Format("2006-01-02T15:04:05Z"), Creators: []string{"Tool: " + info.Main.Path + "/deploy/image"}},
	}
	main := goPackage(info.Main.Path, r.version, "")
	main.License, main.Source = "Apache-2.0", "commit "+r.commit
	main.Sums = []checksum{{"SHA256", digest}}
	d.Packages = append(d.Packages, main)
	d.relate(d.ID, "DESCRIBES", main.ID)
	d.depend(main.ID, goPackage("stdlib", strings.TrimPrefix(info.GoVersion, "go"), ""))
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		d.depend(main.ID, goPackage(dep.Path, dep.Version, dep.Sum))
	}
	d.alsoDescribe(goPackage(rootsModule, rootsVersion(), ""))
	return json.Marshal(d)
}

func (d *document) relate(from, how, to string) {
	d.Relationships = append(d.Relationships, relationship{from, how, to})
}

func (d *document) depend(from string, p spdxPackage) {
	d.Packages = append(d.Packages, p)
	d.relate(from, "DEPENDS_ON", p.ID)
}

// alsoDescribe adds what is in the image but not in the program, unless it is in both.
func (d *document) alsoDescribe(p spdxPackage) {
	if !slices.ContainsFunc(d.Packages, func(q spdxPackage) bool { return q.ID == p.ID }) {
		d.Packages = append(d.Packages, p)
	}
	d.relate(d.ID, "DESCRIBES", p.ID)
}

// goPackage is a module at a version; sum is what go.sum says of it, if anything.
func goPackage(module, version, sum string) spdxPackage {
	p := spdxPackage{
		Name: module, ID: "SPDXRef-" + notID().ReplaceAllString(module+"-"+version, "-"),
		Version: version, Location: unknown, License: unknown,
		Refs: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + module + "@" + version}},
	}
	if sum != "" {
		p.Source = "go.sum " + sum
	}
	return p
}

// notID matches what SPDX does not allow in an ID.
func notID() *regexp.Regexp { return regexp.MustCompile(`[^A-Za-z0-9.-]+`) }

// rootsModule is where the CA certificates come from.
const rootsModule = "golang.org/x/crypto/x509roots/fallback"

// rootsVersion is the version of it that this program was built with.
func rootsVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == rootsModule {
				return dep.Version
			}
		}
	}
	return unknown
}
