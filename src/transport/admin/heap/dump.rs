//! The allocator's dump of its samples ("heap_v2"), and the profile that is made of it.
//!
//! ```text
//! heap_v2/524288                        bytes between two samples
//!   t*: 35: 358069 [0: 0]               all together, then each thread
//! @ 0x5647435213b3 0x564743521a5d ...   a stack, the innermost return address first
//!   t*: 35: 358069 [0: 0]               objects and bytes that it holds
//!   t0: ...
//!
//! MAPPED_LIBRARIES:                     of no use here
//! ```

use std::collections::HashMap;

use pprof::protos::{Profile, Sample};

use crate::transport::admin::names::qualified;
use crate::transport::admin::proto::{At, Builder};

/// How the names of the allocator's own functions begin, and of those of Rust between it and who
/// wants memory.
const ALLOCATOR: [&str; 16] = [
    "_rjem_",
    "je_",
    "prof_",
    "imalloc",
    "irealloc",
    "do_rallocx",
    "tikv_jemallocator::",
    "<tikv_jemallocator::",
    "__rustc::",
    "__rust_",
    "__rdl_",
    "__rg_",
    "alloc::alloc::",
    "<alloc::alloc::",
    "alloc::raw_vec::",
    "<alloc::raw_vec::",
];

/// What the samples of one stack stand for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stack {
    /// Return addresses, the innermost first.
    pub(super) addresses: Vec<u64>,
    pub(super) objects: i64,
    pub(super) bytes: i64,
}

/// Bytes between two samples, and the stacks. `None` where it is no such dump.
pub(super) fn read(text: &str) -> Option<(u64, Vec<Stack>)> {
    let mut lines = text.lines();
    let interval = lines.next()?.strip_prefix("heap_v2/")?.parse().ok()?;
    let mut stacks = Vec::new();
    let mut addresses = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(stack) = line.strip_prefix("@ ") {
            let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
            addresses = stack.split_whitespace().map(hex).collect::<Option<_>>()?;
        } else if let Some(counts) = line.strip_prefix("  t*:")
            // The line before the first stack is of all together.
            && !addresses.is_empty()
        {
            let mut counts = counts
                .split([':', '['])
                .map(|count| count.trim().parse().ok());
            let (objects, bytes) = scaled(counts.next()??, counts.next()??, interval);
            stacks.push(Stack {
                addresses: std::mem::take(&mut addresses),
                objects,
                bytes,
            });
        }
    }
    Some((interval, stacks))
}

/// An allocation of n bytes is met by a sample with a chance of 1 - e^(-n / interval); what was met
/// stands for so many more.
fn scaled(objects: u64, bytes: u64, interval: u64) -> (i64, i64) {
    if objects == 0 || interval == 0 {
        return (0, 0);
    }
    let mean = bytes as f64 / objects as f64;
    let scale = 1.0 / (1.0 - (-mean / interval as f64).exp());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a number of bytes in memory"
    )]
    let times = |count: u64| (count as f64 * scale).round() as i64;
    (times(objects), times(bytes))
}

/// The profile, with the names that stand in this program.
pub(super) fn profile(interval: u64, stacks: &[Stack]) -> Profile {
    let values = [("inuse_objects", "count"), ("inuse_space", "bytes")];
    let mut builder = Builder::new(&values, "inuse_space");
    builder.period(
        ("space", "bytes"),
        i64::try_from(interval).unwrap_or(i64::MAX),
    );
    let mut places: HashMap<u64, Place> = HashMap::new();
    for stack in stacks {
        let places = stack.addresses.iter().map(|&address| {
            *places
                .entry(address)
                .or_insert_with(|| place(&mut builder, address))
        });
        // What is shown is who wanted the memory: the last one before the allocator.
        let wanted: Vec<_> = places.skip_while(|place| place.is_allocator).collect();
        builder.sample(Sample {
            location_id: wanted.iter().map(|place| place.location).collect(),
            value: vec![stack.objects, stack.bytes],
            label: Vec::new(),
        });
    }
    // The tables that names are looked up in, which would stay in memory.
    backtrace::clear_symbol_cache();
    builder.finish()
}

#[derive(Clone, Copy)]
struct Place {
    location: u64,
    is_allocator: bool,
}

/// What stands at the call before this return address.
fn place(builder: &mut Builder, address: u64) -> Place {
    let mut found: Vec<(String, String, u32)> = Vec::new();
    // It looks before the address by itself, as it is meant for those of a stack.
    let back = std::ptr::without_provenance_mut(address as usize);
    backtrace::resolve(back, |symbol| {
        let file = symbol.filename().map(|file| file.display().to_string());
        let file = file.unwrap_or_default();
        let name = symbol.name().map_or_else(
            || format!("{address:#x}"),
            |name| qualified(&format!("{name:#}"), &file),
        );
        found.push((name, file, symbol.lineno().unwrap_or(0)));
    });
    if found.is_empty() {
        found.push((format!("{address:#x}"), String::new(), 0));
    }
    // Of the allocator's that are inlined here none is shown, as none of those that were called.
    let theirs = found.iter().take_while(|(name, ..)| is_allocator(name));
    let inlined = theirs.count().min(found.len() - 1);
    let at: Vec<At<'_>> = found[inlined..]
        .iter()
        .map(|(name, file, line)| (&**name, &**file, *line))
        .collect();
    // The last is the function itself, the others are inlined in it.
    let function = found.last().map_or("", |(name, ..)| name);
    Place {
        location: builder.location(address, &at),
        is_allocator: is_allocator(function),
    }
}

fn is_allocator(name: &str) -> bool {
    ALLOCATOR.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "heap_v2/524288\n  t*: 4: 1049600 [0: 0]\n  t0: 4: 1049600 [0: 0]\n\
                        @ 0x10 0x2f\n  t*: 2: 1048576 [0: 0]\n  t0: 2: 1048576 [0: 0]\n\
                        @ 0x30\n  t*: 2: 1024 [7: 9]\n  t0: 1: 512 [0: 0]\n  t1: 1: 512 [0: 0]\n\
                        \nMAPPED_LIBRARIES:\n00400000-00500000 r-xp 0 00:00 0 /a\n@ 0x1\n\
                        \x20 t*: 1: 1\n";

    #[test]
    fn a_dump_is_read_and_what_was_not_sampled_is_added() {
        let (interval, stacks) = read(DUMP).unwrap();
        assert_eq!(interval, 524_288);
        assert_eq!(stacks.len(), 2, "{stacks:?}");
        // Two of 512 KiB: 1 / (1 - 1/e) = 1.582 as many.
        assert_eq!(stacks[0].addresses, [0x10, 0x2f]);
        assert_eq!((stacks[0].objects, stacks[0].bytes), (3, 1_658_823));
        // Two of 512 bytes: one in 1,024 is met.
        assert_eq!(stacks[1].addresses, [0x30]);
        assert_eq!(stacks[1].objects, 2_049);
        assert_eq!(stacks[1].bytes, 1_049_088);
    }

    #[test]
    fn what_is_no_dump_is_not_read() {
        for text in ["", "heap profile: 1", "heap_v2/x\n", "heap_v2/1\n@ 0xzz\n"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(
            read("heap_v2/1\n  t*: 0: 0 [0: 0]\n"),
            Some((1, Vec::new()))
        );
    }

    #[test]
    fn an_address_of_this_program_has_its_name() {
        let address = scaled as fn(u64, u64, u64) -> (i64, i64) as usize as u64;
        let stack = Stack {
            addresses: vec![address + 1, 3],
            objects: 1,
            bytes: 2,
        };
        let profile = profile(524_288, &[stack]);
        let functions = profile.function.iter();
        let names: Vec<_> = functions
            .map(|function| &*profile.string_table[usize::try_from(function.name).unwrap()])
            .collect();
        let path = "pushgate::transport::admin::heap::dump::scaled";
        assert_eq!(names[0], path, "{names:?}");
        assert_eq!(names[1], "0x3", "{names:?}");
        assert_eq!(profile.location[0].line.len(), 1);
        assert_eq!(profile.sample[0].location_id, [1, 2]);
        assert_eq!(profile.sample[0].value, [1, 2]);
    }
}
