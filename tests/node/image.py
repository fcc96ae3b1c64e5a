"""Writes an image of static programs as an OCI archive, which containerd imports: no registry and no image builder."""

import gzip
import hashlib
import io
import json
import tarfile

OCI = "application/vnd.oci.image."


def _add(archive, name, content, mode=0o644):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def write_image(path, program, *entrypoint):
    """With this program, under its name, and nothing else."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        _add(archive, program.name, program.read_bytes(), 0o755)
    layer = layer.getvalue()

    with tarfile.open(path, "w") as archive:
        def blob(kind, content):
            digest = hashlib.sha256(content).hexdigest()
            _add(archive, f"blobs/sha256/{digest}", content)
            return {"mediaType": OCI + kind, "digest": f"sha256:{digest}", "size": len(content)}

        config = {"architecture": "amd64", "os": "linux", "config": {"Entrypoint": [f"/{program.name}", *entrypoint]},
                  "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}
        manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                    "config": blob("config.v1+json", json.dumps(config).encode()),
                    "layers": [blob("layer.v1.tar+gzip", gzip.compress(layer, 1, mtime=0))]}
        index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json",
                 "manifests": [blob("manifest.v1+json", json.dumps(manifest).encode())]}
        _add(archive, "index.json", json.dumps(index).encode())
        _add(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
