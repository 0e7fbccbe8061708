//! As much of ELF as it takes to say whether two eBPF objects hold the same programs.
//!
//! Whole files differ between two builds of the same source, since BTF carries paths and flags. What the kernel runs is
//! the bytes of the executable sections and, for each relocation, the map or function it names.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

const SECTION_RELOCATIONS: u32 = 9; // SHT_REL
const SECTION_SYMBOLS: u32 = 2; // SHT_SYMTAB
const FLAG_EXECUTABLE: u64 = 0x4; // SHF_EXECINSTR
const SYMBOL_IS_FUNCTION: u8 = 2; // STT_FUNC
const SYMBOL_IS_SECTION: u8 = 3; // STT_SECTION
const SECTION_HEADER_SIZE: usize = 64; // sizeof(Elf64_Shdr)
const SYMBOL_SIZE: usize = 24; // sizeof(Elf64_Sym)
const RELOCATION_SIZE: usize = 16; // sizeof(Elf64_Rel)

/// One executable section.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Code {
    /// Its instructions.
    pub(crate) bytes: Vec<u8>,
    /// Offset of an instruction and the map, function or section it refers to.
    pub(crate) references: Vec<(u64, String)>,
}

struct Section<'a> {
    name: String,
    kind: u32,
    flags: u64,
    bytes: &'a [u8],
    link: usize,
    info: usize,
}

/// The executable sections of a 64-bit little-endian object, by name.
pub(crate) fn code(file: &[u8]) -> Result<BTreeMap<String, Code>> {
    let sections = sections(file)?;
    let mut found = BTreeMap::new();
    for (index, section) in sections.iter().enumerate() {
        if section.flags & FLAG_EXECUTABLE == 0 || section.bytes.is_empty() {
            continue;
        }
        let mut references = Vec::new();
        for table in sections.iter().filter(|table| table.kind == SECTION_RELOCATIONS && table.info == index) {
            for relocation in table.bytes.chunks_exact(RELOCATION_SIZE) {
                let symbol = (u64_at(relocation, 8)? >> 32) as usize; // ELF64_R_SYM
                references.push((u64_at(relocation, 0)?, target_name(&sections, table.link, symbol)?));
            }
        }
        references.sort();
        found.insert(section.name.clone(), Code { bytes: section.bytes.to_vec(), references });
    }
    Ok(found)
}

/// What differs between two sets of code, one sentence per section; empty when nothing does.
pub(crate) fn differences(ours: &BTreeMap<String, Code>, theirs: &BTreeMap<String, Code>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, code) in ours {
        match theirs.get(name) {
            None => found.push(format!("section `{name}` is missing in the checked-in object")),
            Some(other) if other.bytes != code.bytes => {
                let same = code.bytes.iter().zip(&other.bytes).take_while(|(one, two)| one == two).count();
                found.push(format!(
                    "section `{name}`: {} bytes built, {} checked in, first difference at instruction {}",
                    code.bytes.len(),
                    other.bytes.len(),
                    same / 8 // every eBPF instruction slot is 8 bytes
                ));
            }
            Some(other) if other.references != code.references => {
                found.push(format!("section `{name}`: the same instructions refer to other maps or functions"));
            }
            Some(_) => {}
        }
    }
    for name in theirs.keys().filter(|name| !ours.contains_key(*name)) {
        found.push(format!("section `{name}` is in the checked-in object only"));
    }
    found
}

fn sections(file: &[u8]) -> Result<Vec<Section<'_>>> {
    ensure!(file.get(..6) == Some(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF file");
    let table = u64_at(file, 40)? as usize;
    let count = u16_at(file, 60)? as usize;
    let names = u16_at(file, 62)? as usize;
    let header = |index: usize| part(file, table + index * SECTION_HEADER_SIZE, SECTION_HEADER_SIZE);
    let names = contents(file, header(names)?)?;
    let mut found = Vec::with_capacity(count);
    for index in 0..count {
        let header = header(index)?;
        found.push(Section {
            name: string_at(names, u32_at(header, 0)? as usize)?,
            kind: u32_at(header, 4)?,
            flags: u64_at(header, 8)?,
            bytes: contents(file, header)?,
            link: u32_at(header, 40)? as usize,
            info: u32_at(header, 44)? as usize,
        });
    }
    Ok(found)
}

/// Names what a symbol stands for. Names of functions carry a hash that differs between builds, so a function is named
/// by its place.
fn target_name(sections: &[Section<'_>], table: usize, symbol: usize) -> Result<String> {
    let symbols = sections.get(table).filter(|section| section.kind == SECTION_SYMBOLS).context("no symbol table")?;
    let entry = part(symbols.bytes, symbol * SYMBOL_SIZE, SYMBOL_SIZE)?;
    let place = u16_at(entry, 6)? as usize;
    let home = sections.get(place).map(|section| section.name.clone()).unwrap_or_default();
    match entry[4] & 0xf {
        SYMBOL_IS_SECTION => Ok(home),
        SYMBOL_IS_FUNCTION => Ok(format!("{home}+{}", u64_at(entry, 8)?)),
        _ => {
            let names = sections.get(symbols.link).context("no names for the symbols")?;
            string_at(names.bytes, u32_at(entry, 0)? as usize)
        }
    }
}

/// A section's bytes; none for one that takes no room in the file (SHT_NOBITS is 8).
fn contents<'a>(file: &'a [u8], header: &[u8]) -> Result<&'a [u8]> {
    if u32_at(header, 4)? == 8 {
        return Ok(&[]);
    }
    part(file, u64_at(header, 24)? as usize, u64_at(header, 32)? as usize)
}

fn part(bytes: &[u8], start: usize, length: usize) -> Result<&[u8]> {
    let end = start.checked_add(length).context("a length in the file overflows")?;
    bytes.get(start..end).with_context(|| format!("the file ends before byte {end}"))
}

fn string_at(bytes: &[u8], start: usize) -> Result<String> {
    let rest = bytes.get(start..).context("a name lies outside its table")?;
    let Some(length) = rest.iter().position(|byte| *byte == 0) else { bail!("a name has no end") };
    Ok(String::from_utf8_lossy(&rest[..length]).into_owned())
}

fn array<const N: usize>(bytes: &[u8], start: usize) -> Result<[u8; N]> {
    Ok(part(bytes, start, N)?.try_into()?)
}

fn u16_at(bytes: &[u8], start: usize) -> Result<u16> {
    array(bytes, start).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], start: usize) -> Result<u32> {
    array(bytes, start).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], start: usize) -> Result<u64> {
    array(bytes, start).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object with one executable section `xdp`, whose instruction at 8 refers to a symbol called `map`.
    fn object(instructions: &[u8], map: &str) -> Vec<u8> {
        let section_names = b"\0xdp\0.rel\0.symtab\0.strtab\0";
        let mut strings = vec![0];
        strings.extend_from_slice(map.as_bytes());
        strings.push(0);
        let mut symbols = vec![0; SYMBOL_SIZE];
        symbols.extend_from_slice(&1u32.to_le_bytes()); // name
        symbols.extend_from_slice(&[1, 0, 0, 0]); // STT_OBJECT, no section
        symbols.extend_from_slice(&[0; 16]);
        let mut relocations = 8u64.to_le_bytes().to_vec();
        relocations.extend_from_slice(&(1u64 << 32 | 1).to_le_bytes());
        // Name's offset, kind, flags, link, info; then the bytes, in the same order.
        let headers_in: [(u32, u32, u64, u32, u32); 6] = [
            (0, 0, 0, 0, 0),
            (1, 1, FLAG_EXECUTABLE, 0, 0),
            (5, SECTION_RELOCATIONS, 0, 3, 1),
            (10, SECTION_SYMBOLS, 0, 4, 0),
            (18, 3, 0, 0, 0),
            (18, 3, 0, 0, 0),
        ];
        let contents: [&[u8]; 6] = [&[], instructions, &relocations, &symbols, &strings, section_names];
        let mut file = b"\x7fELF\x02\x01".to_vec();
        file.resize(64, 0);
        let mut headers = Vec::new();
        for ((name, kind, flags, link, info), bytes) in headers_in.into_iter().zip(contents) {
            headers.extend_from_slice(&name.to_le_bytes());
            headers.extend_from_slice(&kind.to_le_bytes());
            for value in [flags, 0, file.len() as u64, bytes.len() as u64] {
                headers.extend_from_slice(&value.to_le_bytes());
            }
            headers.extend_from_slice(&link.to_le_bytes());
            headers.extend_from_slice(&info.to_le_bytes());
            headers.extend_from_slice(&[0; 16]);
            file.extend_from_slice(bytes);
        }
        let table = file.len() as u64;
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[60..62].copy_from_slice(&6u16.to_le_bytes());
        file[62..64].copy_from_slice(&5u16.to_le_bytes());
        file.extend_from_slice(&headers);
        file
    }

    #[test]
    fn equal_code_has_no_differences() {
        let ours = code(&object(&[1; 24], "SOCKETS")).unwrap();
        assert_eq!(ours["xdp"].references, [(8, "SOCKETS".to_owned())]);
        assert!(differences(&ours, &ours).is_empty());
    }

    #[test]
    fn another_instruction_map_or_section_is_found() {
        let ours = code(&object(&[1; 24], "SOCKETS")).unwrap();
        let other = code(&object(&[1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1], "SOCKETS")).unwrap();
        assert!(differences(&ours, &other)[0].contains("instruction 1"));
        let other = code(&object(&[1; 24], "RULES")).unwrap();
        assert!(differences(&ours, &other)[0].contains("other maps"));
        assert_eq!(differences(&ours, &BTreeMap::new()).len(), 1);
        assert_eq!(differences(&BTreeMap::new(), &ours).len(), 1);
    }

    #[test]
    fn a_file_cut_short_is_an_error_and_never_a_panic() {
        let file = object(&[1; 24], "SOCKETS");
        for length in 0..file.len() {
            assert!(code(&file[..length]).is_err(), "{length} bytes were taken for an object");
        }
    }
}
