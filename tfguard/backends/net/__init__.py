"""How a Go program such as Terraform reaches a server over HTTP: its proxies, its certificates, one request."""
