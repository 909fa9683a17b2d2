"""The question over HTTP: the page and the REST API."""
