//! Check of an executable file's format, as `execve` makes it: ELF header and dynamic loader, or the script's first
//! line.
//!
//! `execve` reports a missing dynamic loader and a missing interpreter as "No such file or directory", which operators
//! read as a statement about the program itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{ProgramError, find_command, is_executable};

/// Bytes of the file that the kernel examines (`BINPRM_BUF_SIZE`).
const HEAD_BYTES: u64 = 256;
/// Program headers of an ELF file that are examined; executables have about ten.
const MAX_PROGRAM_HEADERS: u16 = 64;
const UTF8_BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Type of the program header with the path of the dynamic loader (elf(5), `PT_INTERP`).
const PT_INTERP: u32 = 3;
/// `e_machine` of this machine (elf(5)); 0 on other architectures, where the check is skipped.
pub(super) const ELF_MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else {
    0
};

/// Checks the format of the file at `path`. `search_path` is the function's `PATH`, for scripts that begin with
/// `#!/usr/bin/env`.
pub(super) fn check_format(path: &Path, search_path: &str) -> Result<(), ProgramError> {
    let unreadable = |source| ProgramError::Unreadable { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut head = Vec::new();
    (&mut file).take(HEAD_BYTES).read_to_end(&mut head).map_err(unreadable)?;
    if let Some(line) = head.strip_prefix(b"#!") {
        return check_script(path, line.split(|byte| *byte == b'\n').next().unwrap_or_default(), search_path);
    }
    if head.strip_prefix(UTF8_BYTE_ORDER_MARK).is_some_and(|rest| rest.starts_with(b"#!")) {
        return Err(ProgramError::ByteOrderMark(path.to_owned()));
    }
    // Other systems have other formats of executables; there only `execve` checks them, at the first invocation.
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return Err(ProgramError::UnknownFormat(path.to_owned()));
    }
    check_machine(path, &head)?;
    match dynamic_loader(&mut file, &head).map_err(unreadable)? {
        Some(loader) if !is_executable(&loader) => Err(ProgramError::LoaderNotFound { path: path.to_owned(), loader }),
        _ => Ok(()),
    }
}

/// Checks the first line of a script, without `#!`: `interpreter [argument]`, separated by spaces and tabs. A carriage
/// return is part of the name or argument (Linux, `fs/binfmt_script.c`).
fn check_script(path: &Path, line: &[u8], search_path: &str) -> Result<(), ProgramError> {
    if line.ends_with(b"\r") {
        return Err(ProgramError::WindowsLineEnding(path.to_owned()));
    }
    let line = line.trim_ascii();
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let interpreter = PathBuf::from(OsStr::from_bytes(&line[..end]));
    let not_found = |interpreter| Err(ProgramError::InterpreterNotFound { path: path.to_owned(), interpreter });
    if !is_executable(&interpreter) {
        return not_found(interpreter);
    }
    let argument = String::from_utf8_lossy(line[end..].trim_ascii());
    let command = if interpreter.ends_with("env") { command_of_env(&argument) } else { None };
    match command.filter(|command| !command.contains('/') && find_command(command, search_path).is_none()) {
        Some(command) => not_found(PathBuf::from(command)),
        None => Ok(()),
    }
}

/// Returns the command that `env` runs with this argument of a script's first line: the whole text, or with `-S` its
/// first word that is not an assignment. `None` if other options determine it.
fn command_of_env(argument: &str) -> Option<&str> {
    let command = match argument.strip_prefix("-S") {
        Some(words) => words.split_ascii_whitespace().find(|word| !word.contains('='))?,
        None => argument,
    };
    (!command.is_empty() && !command.starts_with('-') && !command.contains('=')).then_some(command)
}

fn check_machine(path: &Path, head: &[u8]) -> Result<(), ProgramError> {
    // EI_DATA is the byte order of e_machine.
    let machine = [head[18], head[19]];
    let machine = if head[5] == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    if ELF_MACHINE == 0 || machine == ELF_MACHINE {
        return Ok(());
    }
    let found = match machine {
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        other => format!("ELF machine {other}"),
    };
    Err(ProgramError::WrongArchitecture { path: path.to_owned(), found })
}

/// Returns the dynamic loader that an ELF file of this machine requires; `None` for a static executable, and for files
/// that are not 64-bit little-endian.
fn dynamic_loader(file: &mut File, head: &[u8]) -> io::Result<Option<PathBuf>> {
    let is_64_bit_little_endian = head[4] == 2 && head[5] == 1;
    if ELF_MACHINE == 0 || !is_64_bit_little_endian || head.len() < 64 {
        return Ok(None);
    }
    // e_phoff, e_phentsize, e_phnum; then p_type, p_offset and p_filesz of each program header (elf(5)).
    let (offset, size, count) = (read_u64(head, 32), read_u16(head, 54), read_u16(head, 56));
    for index in 0..count.min(MAX_PROGRAM_HEADERS) {
        let mut header = [0; 56];
        file.seek(SeekFrom::Start(offset.saturating_add(u64::from(index) * u64::from(size))))?;
        if file.read_exact(&mut header).is_err() {
            return Ok(None);
        }
        if header[..4] == PT_INTERP.to_le_bytes() {
            let mut name = Vec::new();
            file.seek(SeekFrom::Start(read_u64(&header, 8)))?;
            file.take(read_u64(&header, 32).min(HEAD_BYTES)).read_to_end(&mut name)?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            return Ok(Some(PathBuf::from(OsStr::from_bytes(name))));
        }
    }
    Ok(None)
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
