// Package credentials finds this node's own logins for registries, where docker keeps them: in a
// config.json, or with the credential helpers that it names.
//
// They are for what no client asked for. A client pulls with its own credential or not at all, and
// nothing here is within its reach. The package asks no registry.
package credentials
