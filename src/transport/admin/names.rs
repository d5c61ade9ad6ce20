//! Names of functions for profiles. With line tables alone the program's own functions and all
//! inlined ones have no path in their names: every closure of every file would be `{closure#0}`,
//! and one line of a profile. The file tells the rest.

/// The name with the path of the module that stands in `file`, where it has none of its own.
pub(super) fn qualified(name: &str, file: &str) -> String {
    let head = name.split('<').next().unwrap_or_default();
    let has_path = head.is_empty() || head.contains("::");
    match module(file) {
        Some(module) if !has_path => format!("{module}::{name}"),
        _ => name.to_owned(),
    }
}

/// `tokio::runtime::park` of `.../tokio-1.54.1/src/runtime/park.rs`.
fn module(file: &str) -> Option<String> {
    let (before, inside) = file.strip_suffix(".rs")?.rsplit_once("src/")?;
    let directory = before.trim_end_matches('/').rsplit('/').next();
    let directory = directory.unwrap_or_default();
    let package = match directory.rsplit_once('-') {
        Some((package, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => package,
        _ if before.contains("/library/") => directory,
        // Wherever it was built.
        _ => env!("CARGO_PKG_NAME"),
    };
    let root = ["lib", "main"].contains(&inside);
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let package = package.replace('-', "_");
    Some(match root {
        true => package,
        false => format!("{package}::{}", inside.replace('/', "::")),
    })
}

#[cfg(test)]
mod tests {
    use super::qualified;

    #[test]
    fn a_bare_name_gets_the_path_of_its_file() {
        for (name, file, expected) in [
            ("run", "/build/src/hub/job.rs", "pushgate::hub::job::run"),
            (
                "run",
                "src/transport/admin/mod.rs",
                "pushgate::transport::admin::run",
            ),
            ("main", "/build/src/main.rs", "pushgate::main"),
            (
                "poll<a::B>",
                "/r/registry/src/index-1/tokio-util-0.7.1/src/task/x.rs",
                "tokio_util::task::x::poll<a::B>",
            ),
            (
                "call_once",
                "/rustc/5/library/core/src/ops/function.rs",
                "core::ops::function::call_once",
            ),
            ("a::b", "/build/src/hub/job.rs", "a::b"),
            ("<A as B>::c", "/build/src/hub/job.rs", "<A as B>::c"),
            (
                "malloc",
                "/r/registry/src/i/jemalloc-1/src/prof.c",
                "malloc",
            ),
            ("start_thread", "./nptl/pthread_create.c", "start_thread"),
            ("f", "Unknown", "f"),
        ] {
            assert_eq!(qualified(name, file), expected);
        }
    }
}
