//! What a hostile worker tries. Each attempt is one raw system call, so that no library stands in between.

use rustix::io::Errno;
use rustix::net::xdp::{XDP_PGOFF_RX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING};
use weir_dataplane_io::Mapping;
use weir_dataplane_ring::Memory;

/// Where the worker's view of the ring and the frames lies, and the descriptors it had (closed but in the control).
pub(crate) struct Target {
    ring: usize,
    ring_length: usize,
    frames: usize,
    frames_length: usize,
    socket: usize,
    file: usize,
}

impl Target {
    pub(crate) fn new(ring: &Mapping, frames: &Mapping, socket: i32, file: i32) -> Self {
        let place = |mapping: &Mapping| (mapping.base().as_ptr() as usize, mapping.len());
        let ((ring, ring_length), (frames, frames_length)) = (place(ring), place(frames));
        Self { ring, ring_length, frames, frames_length, socket: socket as usize, file: file as usize }
    }
}

/// What an attempt aims at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aim {
    /// Rings and frames, in a way that works without walls.
    Control,
    /// Rings and frames.
    Rings,
    /// The worker's own view of them: hurts nobody else.
    OwnView,
    /// Files, sockets, processes.
    World,
    /// What a worker needs: must stay possible.
    Own,
}

pub(crate) struct Attempt {
    pub(crate) name: &'static str,
    pub(crate) aim: Aim,
    pub(crate) run: fn(&Target) -> Result<(), Errno>,
}

const RW: usize = (libc::PROT_READ | libc::PROT_WRITE) as usize;
const READ: usize = libc::PROT_READ as usize;
const SHARED: usize = libc::MAP_SHARED as usize;
const ANONYMOUS: usize = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
const NO_FD: usize = usize::MAX;
const PAGE: usize = 4096;

/// One system call.
fn call(number: i64, arguments: &[usize]) -> Result<usize, Errno> {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: hostile on purpose. The worker is a process of its own, made to be broken; each attempt passes memory that
    // lives across the call, and what it gains it either gives back or reports as the test's failure.
    let result =
        unsafe { libc::syscall(number, argument(0), argument(1), argument(2), argument(3), argument(4), argument(5)) };
    if result >= 0 {
        return Ok(result as usize);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

fn text(bytes: &[u8]) -> usize {
    bytes.as_ptr() as usize
}

/// Gives back what a control attempt gained, so that the next starts from the same place.
fn protect_again(address: usize, length: usize) {
    let _ = call(libc::SYS_mprotect, &[address, length, READ]);
}

fn make_writable(number: i64, address: usize, length: usize) -> Result<(), Errno> {
    call(number, &[address, length, RW, NO_FD])?;
    protect_again(address, length);
    Ok(())
}

fn is_socket(descriptor: usize) -> Result<bool, Errno> {
    let mut found = std::mem::MaybeUninit::<libc::stat>::zeroed();
    call(libc::SYS_fstat, &[descriptor, found.as_mut_ptr() as usize])?;
    // SAFETY: it was zeroed, and the kernel filled it; any bytes are valid.
    let mode = unsafe { found.assume_init() }.st_mode;
    Ok(mode & libc::S_IFMT == libc::S_IFSOCK)
}

/// Maps every descriptor the worker may still have at `offset`, writable.
fn map_again(offset: usize, known: usize) -> Result<(), Errno> {
    let mut last = Errno::BADF;
    for descriptor in [known].into_iter().chain(0..32) {
        match call(libc::SYS_mmap, &[0, PAGE, RW, SHARED, descriptor, offset]) {
            Ok(address) => {
                call(libc::SYS_munmap, &[address, PAGE])?;
                // The worker's own files and pipes do not count; where even asking is refused, believe the worst.
                if is_socket(descriptor).unwrap_or(true) {
                    return Ok(());
                }
            }
            Err(Errno::BADF) => {}
            Err(errno) => last = errno,
        }
    }
    Err(last)
}

fn open(path: &[u8], flags: i32) -> Result<usize, Errno> {
    call(libc::SYS_openat, &[libc::AT_FDCWD as usize, text(path), flags as usize])
}

fn open_only(path: &[u8], flags: i32) -> Result<(), Errno> {
    let descriptor = open(path, flags)?;
    call(libc::SYS_close, &[descriptor])?;
    Ok(())
}

fn write_own_memory(address: usize) -> Result<(), Errno> {
    let memory = open(b"/proc/self/mem\0", libc::O_RDWR)?;
    let bytes = [0_u8; 4];
    let written = call(libc::SYS_pwrite64, &[memory, text(&bytes), 4, address]);
    call(libc::SYS_close, &[memory])?;
    written.map(drop)
}

fn write_as_process(address: usize) -> Result<(), Errno> {
    let bytes = [0_u8; 4];
    let (local, remote) = ([text(&bytes), 4], [address, 4]);
    let own = std::process::id() as usize;
    let written = call(libc::SYS_process_vm_writev, &[own, local.as_ptr() as usize, 1, remote.as_ptr() as usize, 1])?;
    if written == 4 { Ok(()) } else { Err(Errno::FAULT) }
}

/// Starts a child by `number` and lets it try `act`; the child's success is the attempt's.
fn in_child(number: i64, arguments: &[usize], act: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let child = call(number, arguments)?;
    if child == 0 {
        let code = act().err().map_or(0, |errno| errno.raw_os_error() as usize);
        let _ = call(libc::SYS_exit_group, &[code]);
    }
    let mut status = 0_i32;
    call(libc::SYS_wait4, &[child, std::ptr::from_mut(&mut status) as usize, 0, 0])?;
    match libc::WEXITSTATUS(status) {
        0 => Ok(()),
        code => Err(Errno::from_raw_os_error(code)),
    }
}

fn in_fork(act: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    in_child(libc::SYS_clone, &[libc::SIGCHLD as usize], act)
}

fn send_descriptor(descriptor: usize) -> Result<(), Errno> {
    let mut control = [0_usize; 3];
    control[0] = 20; // length of the control message: header of 16 and one descriptor
    control[1] = (libc::SCM_RIGHTS as usize) << 32 | libc::SOL_SOCKET as usize;
    control[2] = descriptor;
    let byte = [0_u8; 1];
    let part = [text(&byte), 1];
    let message = [0, 0, part.as_ptr() as usize, 1, control.as_ptr() as usize, 24, 0];
    call(libc::SYS_sendmsg, &[0, message.as_ptr() as usize, libc::MSG_DONTWAIT as usize]).map(drop)
}

fn remap(target: &Target, old: usize, new: usize, flags: i32) -> Result<(), Errno> {
    let address = call(libc::SYS_mremap, &[target.ring, old, new, flags as usize, 0])?;
    if address != target.ring && old == 0 {
        call(libc::SYS_munmap, &[address, new])?;
    }
    Ok(())
}

/// Moves the ring's view over anonymous memory and back.
fn move_view(target: &Target) -> Result<(), Errno> {
    let length = target.ring_length.next_multiple_of(PAGE);
    let place = call(libc::SYS_mmap, &[0, length, RW, ANONYMOUS, NO_FD])?;
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as usize;
    call(libc::SYS_mremap, &[target.ring, length, length, flags, place])?;
    call(libc::SYS_mremap, &[place, length, length, flags, target.ring]).map(drop)
}

fn trace_child(address: usize) -> Result<(), Errno> {
    let child = call(libc::SYS_clone, &[libc::SIGCHLD as usize])?;
    if child == 0 {
        let traced = call(libc::SYS_ptrace, &[libc::PTRACE_TRACEME as usize]);
        let _ = call(libc::SYS_kill, &[call(libc::SYS_getpid, &[]).unwrap_or(0), libc::SIGSTOP as usize]);
        let _ = call(libc::SYS_exit_group, &[usize::from(traced.is_err())]);
    }
    let mut status = 0_i32;
    call(libc::SYS_wait4, &[child, std::ptr::from_mut(&mut status) as usize, libc::WUNTRACED as usize, 0])?;
    let poked = call(libc::SYS_ptrace, &[libc::PTRACE_POKEDATA as usize, child, address, 0]);
    let _ = call(libc::SYS_kill, &[child, libc::SIGKILL as usize]);
    call(libc::SYS_wait4, &[child, 0, 0, 0])?;
    poked.map(drop)
}

fn map_frames_writable(descriptor: usize) -> Result<(), Errno> {
    let address = call(libc::SYS_mmap, &[0, PAGE, RW, SHARED, descriptor, 0])?;
    call(libc::SYS_munmap, &[address, PAGE]).map(drop)
}

fn path_of(descriptor: usize) -> Vec<u8> {
    format!("/proc/self/fd/{descriptor}\0").into_bytes()
}

fn socket(family: i32, kind: i32) -> Result<(), Errno> {
    let descriptor = call(libc::SYS_socket, &[family as usize, kind as usize, 0])?;
    call(libc::SYS_close, &[descriptor]).map(drop)
}

/// Ends the worker by SIGSEGV where the walls hold.
pub(crate) fn store(target: &Target) {
    let word = target.ring as *mut u32;
    // SAFETY: the whole point: the page is mapped read-only, so the store must end this process.
    unsafe { word.write_volatile(7) };
}

pub(crate) fn name_of(errno: Errno) -> String {
    let names = [
        (Errno::PERM, "EPERM"),
        (Errno::ACCESS, "EACCES"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::BADF, "EBADF"),
        (Errno::FAULT, "EFAULT"),
        (Errno::INVAL, "EINVAL"),
        (Errno::IO, "EIO"),
        (Errno::NXIO, "ENXIO"),
        (Errno::NOENT, "ENOENT"),
    ];
    names.iter().find(|(known, _)| *known == errno).map_or_else(|| errno.to_string(), |(_, name)| (*name).to_owned())
}

macro_rules! attempts {
    ($($aim:ident $name:literal $run:expr;)*) => {
        &[$(Attempt { name: $name, aim: Aim::$aim, run: $run },)*]
    };
}

/// In this order: an attempt that changes the view comes after those that need it whole.
pub(crate) const ATTEMPTS: &[Attempt] = attempts! {
    Control "mprotect the ring writable" |t| make_writable(libc::SYS_mprotect, t.ring, t.ring_length);
    Control "pkey_mprotect the ring writable" |t| make_writable(libc::SYS_pkey_mprotect, t.ring, t.ring_length);
    Control "map the RX ring again, writable" |t| map_again(XDP_PGOFF_RX_RING as usize, t.socket);
    Control "map the shared fill ring" |t| map_again(XDP_UMEM_PGOFF_FILL_RING as usize, t.socket);
    Control "map the completion ring" |t| map_again(XDP_UMEM_PGOFF_COMPLETION_RING as usize, t.socket);
    Control "mprotect the ring in a forked child" |t| {
        in_fork(|| call(libc::SYS_mprotect, &[t.ring, t.ring_length, RW]).map(drop))
    };
    Rings "mprotect the frames writable" |t| make_writable(libc::SYS_mprotect, t.frames, t.frames_length);
    Rings "write to the frames' file" |t| call(libc::SYS_pwrite64, &[t.file, text(b"x"), 1, 0]).map(drop);
    Rings "truncate the frames' file" |t| call(libc::SYS_ftruncate, &[t.file, 0]).map(drop);
    Rings "punch a hole into the frames' file" |t| call(libc::SYS_fallocate, &[t.file, 3, 0, PAGE]).map(drop);
    Rings "map the frames' file writable" |t| map_frames_writable(t.file);
    Rings "reopen the frames' file and map it writable" |t| map_frames_writable(open(&path_of(t.file), libc::O_RDWR)?);
    Rings "reopen the socket through /proc" |t| open_only(&path_of(t.socket), libc::O_RDWR);
    Rings "write the ring through /proc/self/mem" |t| write_own_memory(t.ring);
    Rings "write a frame through /proc/self/mem" |t| write_own_memory(t.frames);
    Rings "process_vm_writev to the ring" |t| write_as_process(t.ring);
    Rings "process_vm_writev to a frame" |t| write_as_process(t.frames);
    Rings "ptrace a child and poke the ring" |t| trace_child(t.ring);
    Rings "use the TX ring's kick" |t| {
        call(libc::SYS_sendto, &[t.socket, 0, 0, libc::MSG_DONTWAIT as usize]).map(drop).and(Err(Errno::OPNOTSUPP))
    };
    Rings "duplicate the ring's view (mremap of 0)" |t| remap(t, 0, t.ring_length, libc::MREMAP_MAYMOVE).and(Err(Errno::PERM));
    OwnView "move the ring's view (mremap)" move_view;
    OwnView "move the view to the fill ring (remap_file_pages)" |t| {
        call(libc::SYS_remap_file_pages, &[t.ring, PAGE, 0, (XDP_UMEM_PGOFF_FILL_RING >> 12) as usize, 0])?;
        call(libc::SYS_remap_file_pages, &[t.ring, PAGE, 0, 0, 0]).map(drop)
    };
    Rings "populate the ring for writing (madvise)" |t| call(libc::SYS_madvise, &[t.ring, PAGE, libc::MADV_POPULATE_WRITE as usize]).map(drop);
    World "clone3 (must look absent)" |_| call(libc::SYS_clone3, &[0, 0]).map(drop);
    World "send a descriptor on" |_| send_descriptor(0);
    World "open a file" |_| open_only(b"/etc/passwd\0", libc::O_RDONLY);
    World "open a file by the x32 number" |_| {
        call(0x4000_0000 | libc::SYS_openat, &[libc::AT_FDCWD as usize, text(b"/etc/passwd\0"), 0]).map(drop)
    };
    World "make a memfd" |_| call(libc::SYS_memfd_create, &[text(b"x\0"), 0]).map(drop);
    World "make an AF_XDP socket" |_| socket(libc::AF_XDP, libc::SOCK_RAW);
    World "make a UDP socket" |_| socket(libc::AF_INET, libc::SOCK_DGRAM);
    World "make a netlink socket" |_| socket(libc::AF_NETLINK, libc::SOCK_RAW);
    World "duplicate a descriptor" |_| call(libc::SYS_dup, &[0]).map(drop);
    World "fork" |_| in_fork(|| Ok(()));
    World "execute a program" |_| in_fork(|| {
        let (program, nothing) = (b"/bin/true\0", [0_usize]);
        let vector = [text(program), 0];
        call(libc::SYS_execve, &[text(program), vector.as_ptr() as usize, nothing.as_ptr() as usize]).map(drop)
    });
    World "trace me" |_| in_fork(|| call(libc::SYS_ptrace, &[libc::PTRACE_TRACEME as usize]).map(drop));
    World "make an io_uring" |_| {
        let parameters = [0_u32; 30];
        call(libc::SYS_io_uring_setup, &[4, parameters.as_ptr() as usize]).map(drop)
    };
    World "load a BPF program" |_| call(libc::SYS_bpf, &[5, 0, 0]).map(drop);
    World "catch page faults" |_| call(libc::SYS_userfaultfd, &[1]).map(drop);
    World "take a descriptor from the parent" |_| {
        let parent = call(libc::SYS_pidfd_open, &[std::os::unix::process::parent_id() as usize, 0])?;
        call(libc::SYS_pidfd_getfd, &[parent, 0, 0]).map(drop)
    };
    World "signal the parent" |_| call(libc::SYS_kill, &[std::os::unix::process::parent_id() as usize, 0]).map(drop);
    World "enter a user namespace" |_| in_fork(|| call(libc::SYS_unshare, &[libc::CLONE_NEWUSER as usize]).map(drop));
    World "become root again" |_| call(libc::SYS_setuid, &[0]).map(drop);
    World "become dumpable again" |_| call(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as usize, 1]).map(drop);
    World "map code" |_| call(libc::SYS_mmap, &[0, PAGE, 7, ANONYMOUS, NO_FD]).map(drop);
    World "set a socket option" |_| call(libc::SYS_setsockopt, &[0, 1, 1, 0, 0]).map(drop);
    World "control a device" |_| call(libc::SYS_ioctl, &[0, libc::FIONREAD as usize, 0]).map(drop);
    World "attach System V memory" |_| call(libc::SYS_shmget, &[0, PAGE, 0o600]).map(drop);
    OwnView "lay anonymous memory over the ring" |t| {
        let fixed = ANONYMOUS | libc::MAP_FIXED as usize;
        call(libc::SYS_mmap, &[t.ring, PAGE, RW, fixed, NO_FD]).map(drop)
    };
    OwnView "unmap the ring" |t| call(libc::SYS_munmap, &[t.ring, PAGE]).map(drop);
    Own "allocate and free memory" |_| {
        let address = call(libc::SYS_mmap, &[0, PAGE, RW, ANONYMOUS, NO_FD])?;
        call(libc::SYS_munmap, &[address, PAGE]).map(drop)
    };
    Own "read a clock" |_| {
        let time = [0_i64; 2];
        call(libc::SYS_clock_gettime, &[libc::CLOCK_THREAD_CPUTIME_ID as usize, time.as_ptr() as usize]).map(drop)
    };
    Own "get random bytes" |_| {
        let bytes = [0_u8; 8];
        call(libc::SYS_getrandom, &[text(&bytes), 8, 0]).map(drop)
    };
};
