//! The parameters of a request target, strictly: an escape that is none, or bytes that are no text,
//! would be guessed at.

/// One parameter; its value is empty where there is no `=`.
pub(super) type Pair = (String, String);

/// The parameters in their order, `+` standing for a blank and `%XX` for a byte, as forms write
/// them.
pub(super) fn pairs(query: &str) -> Result<Vec<Pair>, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((text(name)?, text(value)?))
        })
        .collect()
}

fn text(escaped: &str) -> Result<String, String> {
    let (mut bytes, mut rest) = (Vec::new(), escaped.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let digits = rest
                    .split_off(..2)
                    .and_then(|pair| str::from_utf8(pair).ok());
                let digits = digits.filter(|pair| pair.bytes().all(|c| c.is_ascii_hexdigit()));
                let byte = digits.and_then(|pair| u8::from_str_radix(pair, 16).ok());
                byte.ok_or_else(|| format!("{escaped:?}: % without two hexadecimal digits"))?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| format!("{escaped:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_in_order_and_as_forms_write_them() {
        let read = pairs("user=ada&all&user=b%C3%B6b+x&=&&collapse=%26%3d%2B=").unwrap();
        let read: Vec<_> = read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let expected = [
            ("user", "ada"),
            ("all", ""),
            ("user", "böb x"),
            ("", ""),
            ("collapse", "&=+="),
        ];
        assert_eq!(read, expected);
        assert_eq!(pairs("").unwrap(), []);
    }

    #[test]
    fn what_is_not_written_so_is_refused() {
        for query in ["a=%", "a=%f", "a=%zz", "a=%+1", "%=a", "a=%ff", "a=%c3"] {
            assert!(pairs(query).is_err(), "{query}");
        }
    }
}
