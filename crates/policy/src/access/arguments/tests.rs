use super::*;

fn read(text: &str) -> Result<Value, Unclear> {
    Arguments::read(text.as_bytes()).map(|arguments| arguments.value)
}

#[test]
fn what_every_reader_reads_alike_is_read() {
    for right in [
        "{}",
        r#"{"a":1,"b":{"a":[1,-2.5,1e3,0.1,1.0,-0,null,true,"\ud83d\ude00"]}}"#,
        r#"{"n":9007199254740992,"m":1.7976931348623157e308,"k":1E+2,"z":0.0e9}"#,
        r#"{"a":[{"x":1},{"x":2}]}"#,
    ] {
        assert!(read(right).is_ok(), "{right}: {:?}", read(right));
    }
    let arguments = Arguments::read(br#"{"a":[1,{"b":2}]}"#).unwrap();
    assert_eq!((arguments.values, arguments.bytes), (5, 17));
}

#[test]
fn doubled_keys_are_refused_at_any_depth_and_in_any_spelling() {
    for wrong in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"x":[{"y":{"a":1,"b":2,"a":1}}]}"#,
        r#"{"path":1,"Path":2}"#,
        r#"{"s":1,"\u017f":2}"#,
        r#"{"k":1,"\u212a":2}"#,
    ] {
        let refused = read(wrong);
        assert!(
            matches!(refused, Err(Unclear::Doubled(_))),
            "{wrong}: {refused:?}"
        );
    }
}

#[test]
fn half_characters_are_refused_in_keys_and_values() {
    for wrong in [
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00\ud800"}"#,
        r#"{"a":["x\ud83dx"]}"#,
        r#"{"\udfff":1}"#,
    ] {
        assert_eq!(read(wrong).unwrap_err(), Unclear::HalfCharacter, "{wrong}");
    }
    assert!(read(r#"{"a":"\\ud800"}"#).is_ok());
}

#[test]
fn numbers_that_readers_round_are_refused() {
    for wrong in [
        "9007199254740993",
        "18446744073709551616000001",
        "1e400",
        "-1e400",
        "1e-400",
        "0.1000000000000000000001",
        "1e99999999999999999999",
    ] {
        let refused = read(&format!(r#"{{"n":{wrong}}}"#));
        assert!(
            matches!(refused, Err(Unclear::Number(_))),
            "{wrong}: {refused:?}"
        );
    }
}

#[test]
fn what_is_no_object_or_too_long_is_refused() {
    for wrong in ["[]", "1", "null", ""] {
        assert_eq!(read(wrong).unwrap_err(), Unclear::NoObject, "{wrong}");
    }
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_BYTES));
    assert_eq!(read(&long).unwrap_err(), Unclear::TooLong);
}
