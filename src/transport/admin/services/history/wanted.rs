//! The parameters of questions about what is kept: each known, and but for names once.

use std::collections::HashSet;

use axum::http::request::Parts;

use crate::hub::{Target, Whose};
use crate::transport::admin::services::body::{Malformed, short};
use crate::transport::admin::services::query::pairs;
use crate::wire::datagram::PRESENCE_TARGETS_MAX;
use crate::wire::frame::Scope;
use crate::wire::name;

/// Targets of one page at most.
const ROWS_MAX: usize = 1_000;

/// What is asked about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// By name; these alone where there are any.
    pub(super) names: Vec<(Scope, String)>,
    pub(super) scope: Option<Scope>,
    pub(super) everything: bool,
    pub(super) after: Option<u64>,
    pub(super) limit: Option<usize>,
}

impl Wanted {
    pub(super) fn read(parts: &Parts, body: &[u8]) -> Result<Self, Malformed> {
        if !body.is_empty() {
            return Err("a question in parameters has no body".to_owned());
        }
        let mut wanted = Self::default();
        for (parameter, value) in pairs(parts.uri.query().unwrap_or_default())? {
            let is_new = match parameter.as_str() {
                "user" => {
                    let user = name::name(short(&value)?.as_bytes());
                    let user = user.map_err(|error| format!("user: {error}"))?;
                    wanted.names.push((Scope::User, user.to_owned()));
                    true
                }
                "group" => {
                    let group = name::group(short(&value)?.as_bytes());
                    let group = group.map_err(|error| format!("group: {error}"))?;
                    wanted.names.push((Scope::Group, group.to_owned()));
                    true
                }
                "scope" => wanted.scope.replace(scope_of(&value)?).is_none(),
                "all" if matches!(value.as_str(), "" | "true") => {
                    !std::mem::replace(&mut wanted.everything, true)
                }
                "all" => return Err("all is true, or is not there".to_owned()),
                "after" => wanted.after.replace(number("after", &value)?).is_none(),
                "limit" => {
                    let limit = number("limit", &value)?;
                    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
                    let limit = limit.filter(|limit| *limit <= ROWS_MAX);
                    let limit = limit.ok_or_else(|| format!("limit is 1 to {ROWS_MAX}"))?;
                    wanted.limit.replace(limit).is_none()
                }
                _ => return Err(format!("unknown parameter {parameter:?}")),
            };
            if !is_new {
                return Err(format!("{parameter} stands twice"));
            }
        }
        Ok(wanted)
    }

    /// Of a list. Who is named twice is told once.
    pub(super) fn list(mut self) -> Result<Self, Malformed> {
        let max = usize::from(PRESENCE_TARGETS_MAX);
        if self.everything {
            return Err("all is for a purge: a list without parameters has everything".to_owned());
        }
        if self.names.len() > max {
            return Err(format!("{} targets exceed {max}", self.names.len()));
        }
        let is_alone = self.scope.is_none() && self.after.is_none() && self.limit.is_none();
        if !self.names.is_empty() && !is_alone {
            return Err("targets by name stand alone".to_owned());
        }
        let mut seen = HashSet::new();
        self.names.retain(|name| seen.insert(name.clone()));
        Ok(self)
    }

    /// Of a look at one message: none.
    pub(super) fn message(self) -> Result<(), Malformed> {
        let is_empty = self == Self::default();
        let why = || "a look at one message takes no parameters".to_owned();
        is_empty.then_some(()).ok_or_else(why)
    }

    /// Of a purge.
    pub(super) fn purge(mut self) -> Result<Whose, Malformed> {
        let one = "a purge names one user, one group, one scope, or all";
        let count = self.names.len() + usize::from(self.scope.is_some());
        if count + usize::from(self.everything) != 1 {
            return Err(one.to_owned());
        }
        if self.after.is_some() || self.limit.is_some() {
            return Err("after and limit are for lists".to_owned());
        }
        let name = self.names.pop();
        Ok(match (name, self.scope) {
            (Some((scope, name)), _) => Whose::Target(scope, name.into()),
            (None, Some(scope)) => Whose::Scope(scope),
            (None, None) => Whose::Everything,
        })
    }

    pub(super) fn targets(&self) -> Vec<Target<'_>> {
        let names = self.names.iter();
        names
            .map(|(scope, name)| Target::of(*scope, name))
            .collect()
    }
}

fn scope_of(word: &str) -> Result<Scope, Malformed> {
    Scope::from_word(word).ok_or_else(|| "scope is all, user or group".to_owned())
}

pub(super) fn number(parameter: &str, digits: &str) -> Result<u64, Malformed> {
    let is_plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| is_plain);
    number.ok_or_else(|| format!("{parameter}: {digits:?} is no number"))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn read(query: &str) -> Result<Wanted, Malformed> {
        let request = Request::get(format!("/v1/history?{query}"))
            .body(())
            .unwrap();
        Wanted::read(&request.into_parts().0, b"")
    }

    #[test]
    fn a_list_is_of_names_or_goes_on_from_a_place() {
        let wanted = read("user=ada&group=a+b&user=%C3%A9")
            .unwrap()
            .list()
            .unwrap();
        let targets = [Target::User("ada"), Target::Group("a b"), Target::User("é")];
        assert_eq!(wanted.targets(), targets);
        let twice = read("user=b&user=a&group=a&user=b&user=a").unwrap();
        let once = [Target::User("b"), Target::User("a"), Target::Group("a")];
        assert_eq!(twice.list().unwrap().targets(), once);
        let wanted = read("scope=group&after=17&limit=1000")
            .unwrap()
            .list()
            .unwrap();
        assert_eq!(wanted.scope, Some(Scope::Group));
        assert_eq!((wanted.after, wanted.limit), (Some(17), Some(1_000)));
        assert!(read("").unwrap().list().is_ok());
        let many = "user=a&".repeat(257);
        for query in [
            "all",
            "user=a&limit=1",
            "user=a&after=1",
            "user=a&scope=user",
            &many,
        ] {
            assert!(read(query).unwrap().list().is_err(), "{query}");
        }
    }

    #[test]
    fn a_purge_is_of_one_thing_and_never_of_nothing() {
        let whose = |query: &str| read(query).and_then(Wanted::purge);
        let of = |scope, name: &str| Ok(Whose::Target(scope, name.into()));
        assert_eq!(whose("user=ada"), of(Scope::User, "ada"));
        assert_eq!(whose("group=news"), of(Scope::Group, "news"));
        assert_eq!(whose("scope=all"), Ok(Whose::Scope(Scope::All)));
        assert_eq!(whose("all"), Ok(Whose::Everything));
        assert_eq!(whose("all=true"), Ok(Whose::Everything));
        for query in [
            "",
            "user=a&user=b",
            "user=a&group=b",
            "user=a&all",
            "user=a&scope=user",
            "scope=user&all",
            "user=a&limit=1",
            "all&after=1",
            "all=false",
        ] {
            assert!(whose(query).is_err(), "{query}");
        }
    }

    #[test]
    fn what_is_not_known_or_not_a_name_is_refused() {
        for query in [
            "user=",
            "group=a*",
            "user=%07",
            "scope=nobody",
            "scope=user&scope=user",
            "limit=0",
            "limit=1001",
            "limit=+1",
            "limit=",
            "after=-1",
            "after=99999999999999999999",
            "users=a",
            "=",
        ] {
            assert!(read(query).is_err(), "{query}");
        }
        let request = Request::get("/v1/history").body(()).unwrap();
        assert!(Wanted::read(&request.into_parts().0, b"{}").is_err());
        assert!(read("").unwrap().message().is_ok());
        assert!(read("scope=all").unwrap().message().is_err());
    }
}
