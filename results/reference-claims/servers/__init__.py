"""One hello-echo protocol, many ways of waiting for many sockets."""
