//! What a request says, as JSON or as parameters, written down as it stands in a datagram: from
//! there on both are checked by the same code.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::query::{Pair, pairs};
use crate::wire::datagram::{Kick, Op, ReplyMode, RequestBody, Target};
use crate::wire::name::NAME_BYTES_MAX;

/// What is said cannot be a request; why, for people.
pub(super) type Malformed = String;

/// A request as a datagram has it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) op: Op,
    pub(super) body: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PushSaid<'a> {
    #[serde(borrow)]
    targets: Vec<TargetSaid<'a>>,
    #[serde(borrow)]
    payload: Option<Cow<'a, str>>,
    #[serde(borrow)]
    payload_base64: Option<Cow<'a, str>>,
    ttl: Option<Time>,
    spread: Option<Time>,
    #[serde(borrow)]
    collapse: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum TargetSaid<'a> {
    All(bool),
    User(#[serde(borrow)] Cow<'a, str>),
    Group(#[serde(borrow)] Cow<'a, str>),
    ExceptUser(#[serde(borrow)] Cow<'a, str>),
    ExceptGroup(#[serde(borrow)] Cow<'a, str>),
}

/// A duration as text: a number would leave its unit to be guessed, so the refusal of one shows how
/// it is written.
struct Time(String);

impl Time {
    fn text(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as \"90s\" or \"1h 30m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                Ok(Time(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresenceSaid<'a> {
    #[serde(borrow)]
    targets: Vec<TargetSaid<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KickSaid<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    device: Option<Cow<'a, str>>,
    hold: Option<Time>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupsSaid<'a> {
    action: ActionSaid,
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    users: Vec<Cow<'a, str>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActionSaid {
    Join,
    Leave,
}

/// A push whose JSON says everything.
pub(super) fn push(json: &[u8]) -> Result<Written, Malformed> {
    let said: PushSaid<'_> = read(json)?;
    let decoded;
    let payload = match (&said.payload, &said.payload_base64) {
        (Some(_), Some(_)) => {
            return Err("payload and payload_base64: one of them".to_owned());
        }
        (Some(text), None) => text.as_bytes(),
        (None, Some(digits)) => {
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::STANDARD;
            decoded = engine.decode(digits.as_bytes()).map_err(|error| {
                format!("payload_base64 is not base64 with its padding: {error}")
            })?;
            &decoded
        }
        (None, None) => &[],
    };
    let targets = targets(&said.targets)?;
    let given = Given {
        ttl: said.ttl.as_ref().map(Time::text),
        spread: said.spread.as_ref().map(Time::text),
        collapse: said.collapse.as_deref(),
    };
    write_push(&targets, given, payload)
}

/// A push whose parameters say whom it is for, and whose body is the payload.
pub(super) fn raw_push(query: &str, payload: &[u8]) -> Result<Written, Malformed> {
    let pairs = pairs(query)?;
    let (mut targets, mut given) = (Vec::new(), Given::default());
    for pair in &pairs {
        let (name, value) = pair;
        let place = match name.as_str() {
            "ttl" => &mut given.ttl,
            "spread" => &mut given.spread,
            "collapse" => &mut given.collapse,
            _ => {
                targets.push(target_of(pair, true)?);
                continue;
            }
        };
        if place.replace(value).is_some() {
            return Err(format!("{name} stands twice"));
        }
    }
    write_push(&targets, given, payload)
}

/// A question for sessions, as JSON.
pub(super) fn presence(json: &[u8]) -> Result<Written, Malformed> {
    let said: PresenceSaid<'_> = read(json)?;
    write_presence(&targets(&said.targets)?)
}

/// The same as parameters.
pub(super) fn presence_query(query: &str) -> Result<Written, Malformed> {
    let pairs = pairs(query)?;
    let targets: Result<Vec<_>, _> = pairs.iter().map(|pair| target_of(pair, false)).collect();
    write_presence(&targets?)
}

/// The end of sessions.
pub(super) fn kick(json: &[u8]) -> Result<Written, Malformed> {
    let said: KickSaid<'_> = read(json)?;
    let body = RequestBody::Kick(Kick {
        user: short(&said.user)?,
        device: short(said.device.as_deref().unwrap_or_default())?,
        hold_s: seconds("hold", said.hold.as_ref().map(Time::text))?,
        reason: short(said.reason.as_deref().unwrap_or_default())?,
    });
    Ok(written(&body))
}

/// Users into a group, or out of it.
pub(super) fn groups(json: &[u8]) -> Result<Written, Malformed> {
    let said: GroupsSaid<'_> = read(json)?;
    let group = short(&said.group)?;
    let users: Result<Vec<_>, _> = said.users.iter().map(|user| short(user)).collect();
    let users = countable(users?)?;
    let users = &*users;
    Ok(written(&match said.action {
        ActionSaid::Join => RequestBody::Join { group, users },
        ActionSaid::Leave => RequestBody::Leave { group, users },
    }))
}

/// What a push may have besides targets and payload, as people write it.
#[derive(Clone, Copy, Default)]
struct Given<'a> {
    ttl: Option<&'a str>,
    spread: Option<&'a str>,
    collapse: Option<&'a str>,
}

fn write_push(
    targets: &[Target<'_>],
    given: Given<'_>,
    payload: &[u8],
) -> Result<Written, Malformed> {
    Ok(written(&RequestBody::Push {
        // What is answered, and when, is this door's affair.
        reply: ReplyMode::One,
        collapse: short(given.collapse.unwrap_or_default())?.as_bytes(),
        ttl_s: seconds("ttl", given.ttl)?,
        spread_ms: millis("spread", given.spread)?,
        targets,
        payload,
    }))
}

fn write_presence(targets: &[Target<'_>]) -> Result<Written, Malformed> {
    Ok(written(&RequestBody::Presence { targets }))
}

fn written(request: &RequestBody<'_>) -> Written {
    let mut body = Vec::new();
    request.put(&mut body);
    Written {
        op: request.op(),
        body,
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(json)
        .map_err(|error| format!("the body is not what it has to be: {error}"))
}

fn targets<'a>(said: &'a [TargetSaid<'_>]) -> Result<Vec<Target<'a>>, Malformed> {
    let target = |said: &'a TargetSaid<'_>| {
        Ok(match said {
            TargetSaid::All(true) => Target::All,
            TargetSaid::All(false) => return Err("all is true, or is not there".to_owned()),
            TargetSaid::User(name) => Target::User(short(name)?),
            TargetSaid::Group(name) => Target::Group(short(name)?),
            TargetSaid::ExceptUser(name) => Target::ExceptUser(short(name)?),
            TargetSaid::ExceptGroup(name) => Target::ExceptGroup(short(name)?),
        })
    };
    let targets: Result<Vec<_>, _> = said.iter().map(target).collect();
    countable(targets?)
}

/// The target that a parameter names.
fn target_of((name, value): &Pair, exceptions: bool) -> Result<Target<'_>, Malformed> {
    Ok(match name.as_str() {
        "all" if matches!(value.as_str(), "" | "true") => Target::All,
        "all" => return Err("all is true, or is not there".to_owned()),
        "user" => Target::User(short(value)?),
        "group" => Target::Group(short(value)?),
        "except_user" if exceptions => Target::ExceptUser(short(value)?),
        "except_group" if exceptions => Target::ExceptGroup(short(value)?),
        _ => return Err(format!("unknown parameter {name:?}")),
    })
}

/// Lists that their length on the wire can tell; how many there may be is checked where it is read.
fn countable<T>(list: Vec<T>) -> Result<Vec<T>, Malformed> {
    match u16::try_from(list.len()) {
        Ok(_) => Ok(list),
        Err(_) => Err(format!("{} of them are too many", list.len())),
    }
}

/// A text that its length on the wire can tell; what may stand in it is checked where it is read.
pub(super) fn short(text: &str) -> Result<&str, Malformed> {
    match text.len() {
        0..=NAME_BYTES_MAX => Ok(text),
        bytes => Err(format!("a text of {bytes} bytes exceeds {NAME_BYTES_MAX}")),
    }
}

fn duration(name: &str, text: Option<&str>) -> Result<Duration, Malformed> {
    let Some(text) = text else {
        return Ok(Duration::ZERO);
    };
    humantime::parse_duration(text)
        .map_err(|_| format!("{name}: {text:?} is not a duration such as \"90s\" or \"1h 30m\""))
}

fn seconds(name: &str, text: Option<&str>) -> Result<u32, Malformed> {
    let duration = duration(name, text)?;
    u32::try_from(duration.as_secs())
        .ok()
        .filter(|_| duration.subsec_nanos() == 0)
        .ok_or_else(|| format!("{name} is not a whole number of seconds up to {}", u32::MAX))
}

fn millis(name: &str, text: Option<&str>) -> Result<u32, Malformed> {
    let duration = duration(name, text)?;
    u32::try_from(duration.as_millis())
        .ok()
        .filter(|_| duration.subsec_nanos() % 1_000_000 == 0)
        .ok_or_else(|| {
            format!(
                "{name} is not a whole number of milliseconds up to {}",
                u32::MAX
            )
        })
}

#[cfg(test)]
mod tests;
