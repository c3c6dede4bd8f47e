package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"

	"github.com/shoal-project/shoal/pkg/containerd/configtoml"
	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

// configFindings are about containerd's own configuration. A problem means that it reads
// no hosts.toml, or not where it is meant to.
func (n *Node) configFindings() []Finding {
	if n.options.HostsDir != "" {
		return nil
	}
	c, file := n.config, n.flavor.config
	one := func(code Code, severity Severity, message, remedy string) []Finding {
		return []Finding{{Code: code, Severity: severity, File: file, Message: message, Remedy: remedy}}
	}
	certs := path.Join(path.Dir(file), "certs.d")
	wanted := fmt.Sprintf("config_path = %q", certs)
	switch {
	case n.configErr != nil:
		return one(CodeConfigBroken, Problem, "containerd does not start with its configuration: "+n.configErr.Error(), "mend the file")
	case c.Disabled:
		return one(CodeCRIDisabled, Problem, "containerd's CRI plugin is turned off: the kubelet cannot pull through it",
			"take cri out of disabled_plugins in "+file+" and restart containerd")
	case c.Mirrors:
		return one(CodeLegacyMirrors, Problem, "containerd's configuration has registry.mirrors, which excludes hosts.toml files",
			n.flavor.fix(wanted+" in place of registry.mirrors"))
	case c.Path == "" && len(c.Folders()) == 0:
		where := "is not set in " + file
		if c.Missing {
			where = "is not set: there is no " + file
		}
		return one(CodeNoConfigPath, Problem, "config_path "+where+", and containerd reads no hosts.toml", n.flavor.fix(n.section()+wanted))
	case c.Trapped():
		return one(CodeTwoFolders, Problem,
			fmt.Sprintf("config_path is a list (%s), which containerd 2.1 and later take for the name of one folder: they ignore every hosts.toml without a word", c.Path),
			n.flavor.fix(wanted)+"; with containerd 1.x or 2.0, where a list works, say so with --containerd-version")
	}
	var findings []Finding
	if c.Missing {
		findings = one(CodeNotGenerated, Note, fmt.Sprintf("%s has not written %s yet; its usual folder is taken", n.flavor.name, file), "")
	}
	if c.DiscardUnpackedLayers {
		findings = append(findings, one(CodeDiscardsLayers, Note,
			"containerd keeps no layer once it is unpacked (discard_unpacked_layers): Shoal serves peers from its own store, and a layer that is gone there is fetched again", "")...)
	}
	return findings
}

// section names where config_path belongs.
func (n *Node) section() string {
	if n.options.Release == configtoml.One || n.config.Version < 3 && !n.config.Missing {
		return `[plugins."io.containerd.grpc.v1.cri".registry] `
	}
	return `[plugins."io.containerd.cri.v1.images".registry] `
}

// daemonFindings ask Shoal whether it is there.
func (n *Node) daemonFindings(ctx context.Context, ask func(context.Context, hoststoml.Mirror) error) []Finding {
	err := ask(ctx, n.options.Mirror)
	if err == nil {
		return nil
	}
	if strange, ok := errors.AsType[*StrangerError](err); ok {
		return []Finding{{
			Code: CodeDaemonStrange, Severity: Problem, Message: strange.Error(),
			Remedy: "see what listens there, and name the address that shoal serve --listen has with --listen",
		}}
	}
	return []Finding{{
		Code: CodeDaemonDown, Severity: Problem,
		Message: fmt.Sprintf("Shoal does not answer at %s: %s", n.options.Mirror.URL(), err),
		Remedy:  "start shoal serve, or name the address that its --listen has with --listen",
	}}
}

// reason leaves out the name of a file, which the sentence around it says.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func isReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }
