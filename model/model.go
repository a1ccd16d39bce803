// Package model is what a server of shared variables and its clients talk about: tenants, services and variables, the
// changes that are asked of them, the events that follow, rights, limits and errors.
//
// It knows no wire, no store and no file system. Package transport encodes these types for protocol v2; server, sync and fs
// use them and nothing of transport's messages.
package model
