"""As much of an ELF file as says how it is linked: elf(5)."""

import struct

ET_DYN = 3
PT_DYNAMIC, PT_INTERP = 2, 3
DT_NULL, DT_NEEDED, DT_FLAGS, DT_FLAGS_1 = 0, 1, 30, 0x6FFFFFFB
DF_BIND_NOW, DF_1_PIE = 0x8, 0x08000000
PT_GNU_STACK, PT_GNU_RELRO = 0x6474E551, 0x6474E552


class Elf:
    def __init__(self, data):
        assert data[:6] == b"\x7fELF\x02\x01", "64 bits, little-endian"
        (self.type,) = struct.unpack_from("<H", data, 16)
        program_headers, section_headers = struct.unpack_from("<QQ", data, 32)
        size, count, section_size, sections, names = struct.unpack_from("<HHHHH", data, 54)
        self.segments = {}  # type: (flags, content)
        for i in range(count):
            kind, flags, offset, _, _, length = struct.unpack_from("<IIQQQQ", data, program_headers + i * size)
            self.segments[kind] = (flags, data[offset:offset + length])
        self.dynamic = [struct.unpack_from("<QQ", self.segments[PT_DYNAMIC][1], at)
                        for at in range(0, len(self.segments[PT_DYNAMIC][1]), 16)]
        headers = [struct.unpack_from("<IIQQQQ", data, section_headers + i * section_size) for i in range(sections)]
        start = headers[names][4]
        self.sections = [data[start + name:data.index(b"\0", start + name)].decode() for name, *_ in headers]

    def entries(self, tag):
        return [value for found, value in self.dynamic if found == tag]
