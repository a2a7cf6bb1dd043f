"""documents.py VERSION: reads Kubernetes manifests as YAML, checks each against the schemas of that
version of Kubernetes, and prints them as a list of JSON. What has no schema, as what an operator
defines, is passed on as it is and named on standard error."""

import json
import sys

import kubernetes_validate
import yaml


def main():
    version = sys.argv[1]
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    wrong = False
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            print(f"{name}: no schema", file=sys.stderr)
        except kubernetes_validate.ValidationError as error:
            print(f"{name}: {'/'.join(map(str, error.path))}: {error.message}", file=sys.stderr)
            wrong = True
    json.dump(documents, sys.stdout)
    return 1 if wrong else 0


sys.exit(main())
