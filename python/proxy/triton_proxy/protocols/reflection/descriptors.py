"""Which descriptors callers may see: those of the services that are served, with the methods that are served alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool


def served(files: Iterable[FileDescriptor], methods: Collection[str]) -> tuple[DescriptorPool, tuple[str, ...]]:
    """A pool of these files and what they import, and the full names of its services.

    Args:
        files: where the services are described.
        methods: full names of the methods that are served, such as `/multimodal.MultimodalService/Chat`. Others, and
            services without any of them, are in no file of the pool.
    """
    pool, names = DescriptorPool(), list[str]()
    for file in _with_imports(files):
        proto = FileDescriptorProto()
        file.CopyToProto(proto)
        names += _pruned(proto, methods)
        pool.Add(proto)
    return pool, tuple(names)


def _with_imports(files: Iterable[FileDescriptor]) -> list[FileDescriptor]:
    """The files, each behind what it imports."""
    found: dict[str, FileDescriptor] = {}
    for file in files:
        for each in (*_with_imports(file.dependencies), file):
            found.setdefault(each.name, each)
    return list(found.values())


def _pruned(proto: FileDescriptorProto, methods: Collection[str]) -> list[str]:
    """Leaves out what is not served; returns the names of the services that are."""
    names = []
    services, package = list(proto.service), f"{proto.package}." if proto.package else ""
    del proto.service[:]
    for service in services:
        name = f"{package}{service.name}"
        kept = [method for method in service.method if f"/{name}/{method.name}" in methods]
        del service.method[:]
        service.method.extend(kept)
        if kept:
            proto.service.append(service)
            names.append(name)
    return names
