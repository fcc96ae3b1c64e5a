"""An image in an OCI archive: what it says, what it holds, and its root file system on disk.
https://github.com/opencontainers/image-spec"""

import gzip
import io
import json
import tarfile


class Image:
    def __init__(self, path):
        self.path = path
        with tarfile.open(path) as archive:
            self.files = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}
        (manifest,) = json.loads(self.files["index.json"])["manifests"]
        self.manifest = self.blob(manifest)
        self.config = self.blob(self.manifest["config"])

    def blob(self, descriptor):
        return json.loads(self.bytes(descriptor))

    def bytes(self, descriptor):
        data = self.files["blobs/" + descriptor["digest"].replace(":", "/")]
        assert len(data) == descriptor["size"]
        return data

    def layers(self):
        """The tar archives, unpacked."""
        for layer in self.manifest["layers"]:
            data = self.bytes(layer)
            yield gzip.decompress(data) if layer["mediaType"].endswith("+gzip") else data

    def members(self):
        """{path: (tar member, content)} of all layers; there are no deletions in ours."""
        found = {}
        for layer in self.layers():
            with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
                for member in archive:
                    content = archive.extractfile(member).read() if member.isfile() else None
                    found[member.name.strip("/")] = (member, content)
        return found

    def unpack(self, directory):
        for layer in self.layers():
            with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
                archive.extractall(directory)
