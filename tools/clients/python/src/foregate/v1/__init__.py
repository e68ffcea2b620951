"""Messages and stubs of foregate/v1/inference.proto, generated when the package is built."""
