//! Requests to valgrind's memcheck: what is undefined, what is defined, what was reported.
//!
//! A request is a sequence of instructions that does nothing on a processor and that valgrind sees (valgrind.h,
//! `VALGRIND_DO_CLIENT_REQUEST_EXPR`): BSD-licensed headers say which. Written out here because the crate that wraps
//! them, crabgrind, needs libclang and some thirty crates in the payload's lock file for it.
#![allow(
    unsafe_code,
    reason = "the sequence has no other form; valgrind marks memory, and reads and writes none but its own copy of the marks"
)]

const RUNNING_ON_VALGRIND: usize = 0x1001;
const COUNT_ERRORS: usize = 0x1201;
/// `VG_USERREQ_TOOL_BASE('M', 'C')`, from which memcheck.h counts.
const MEMCHECK: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16;
const MAKE_MEM_UNDEFINED: usize = MEMCHECK + 1;
const MAKE_MEM_DEFINED: usize = MEMCHECK + 2;
const GET_VBITS: usize = MEMCHECK + 8;

/// Zero without valgrind.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn request(request: usize, arguments: [usize; 3]) -> usize {
    let [a, b, c] = arguments;
    let message = [request, a, b, c, 0, 0];
    let mut answer = 0;
    // SAFETY: four rotations by 128 bits in all and an exchange of a register with itself. Valgrind reads `message`,
    // and writes where its arguments say: functions below pass places that they may write.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") message.as_ptr(),
            inout("rdx") answer,
            options(nostack),
        );
    }
    answer
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn request(_request: usize, _arguments: [usize; 3]) -> usize {
    0
}

/// Whether anything here means anything.
pub(crate) fn is_running() -> bool {
    request(RUNNING_ON_VALGRIND, [0; 3]) > 0
}

/// Reports so far, those of exceptions not counted.
pub(crate) fn reports() -> usize {
    request(COUNT_ERRORS, [0; 3])
}

/// From here on a branch or an address that depends on these is reported.
pub(crate) fn hide<T: Copy>(secret: &mut [T]) {
    let bytes = size_of_val(secret);
    request(MAKE_MEM_UNDEFINED, [secret.as_mut_ptr() as usize, bytes, 0]);
}

/// As [`hide`], for what was secret before.
pub(crate) fn hide_again<T: Copy>(secret: &[T]) {
    let bytes = size_of_val(secret);
    request(MAKE_MEM_UNDEFINED, [secret.as_ptr() as usize, bytes, 0]);
}

/// Says that these are public from here on, whatever they came from.
pub(crate) fn declare<T>(public: &[T]) {
    let bytes = size_of_val(public);
    request(MAKE_MEM_DEFINED, [public.as_ptr() as usize, bytes, 0]);
}

/// Whether a bit of every element depends on a secret.
pub(crate) fn is_secret<T: Copy>(of: &[T]) -> bool {
    of.iter().all(|element| {
        let mut bits = vec![0u8; size_of::<T>()];
        let arguments = [
            (&raw const *element) as usize,
            bits.as_mut_ptr() as usize,
            bits.len(),
        ];
        request(GET_VBITS, arguments) == 1 && bits.iter().any(|bits| *bits != 0)
    })
}
