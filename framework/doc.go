/*
Package framework is management: the model that the REST API shows, the API itself, and (in client) the one typed client
through which the command line, tests and console reach a node.

	ovs CLI ── client ── HTTP + token ── API ── Source (the node, given by storagerouter)

/healthz and /metrics are open; everything else under /api/v1 needs the token of data/admin.token as a bearer token.
*/
package framework
