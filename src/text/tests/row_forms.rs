//! Every form of a row, and what becomes of it.

use llmc_text::row_forms::{read_row, Row, Sample, DEFAULT_TEXT_COLUMN};
use serde_json::{json, Value as Json};

fn read(row: Json) -> Row {
    read_row(row.as_object().unwrap(), DEFAULT_TEXT_COLUMN).unwrap()
}

fn error(row: Json) -> String {
    read_row(row.as_object().unwrap(), DEFAULT_TEXT_COLUMN).unwrap_err().message
}

/// `user: q | assistant: a`
fn turns(row: Json) -> String {
    let Sample::Chat { messages, .. } = read(row).sample else { return "no chat".into() };
    let turn =
        |turn: &Json| format!("{}: {}", turn["role"].as_str().unwrap(), turn["content"].as_str().unwrap());
    messages.iter().map(turn).collect::<Vec<_>>().join(" | ")
}

#[test]
fn conversations_are_read_in_both_spellings() {
    let sharegpt = json!([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]);
    let named = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    assert_eq!(turns(json!({"conversations": sharegpt})), "user: q | assistant: a");
    assert_eq!(turns(json!({"conversations": named})), "user: q | assistant: a");
    assert_eq!(turns(json!({"messages": sharegpt})), "user: q | assistant: a");
    assert_eq!(turns(json!({"conversations": sharegpt.to_string()})), "user: q | assistant: a");
    assert_eq!(
        turns(json!({"conversations": sharegpt, "system": "s"})),
        "system: s | user: q | assistant: a"
    );
    assert_eq!(
        error(json!({"conversations": [{"from": "narrator", "value": "q"}]})),
        "'conversations[0].from' must be 'human', 'gpt', 'system' or 'tool', got 'narrator'"
    );
}

#[test]
fn questions_and_answers_are_chats_of_two_turns() {
    assert_eq!(
        turns(json!({"instruction": "i", "input": "x", "output": "o", "system": null})),
        "user: i\nx | assistant: o"
    );
    assert_eq!(turns(json!({"instruction": "i", "input": "", "output": "o"})), "user: i | assistant: o");
    assert_eq!(turns(json!({"question": "q", "answer": "a"})), "user: q | assistant: a");
    assert_eq!(turns(json!({"prompt": "q", "response": "a"})), "user: q | assistant: a");
    assert_eq!(
        turns(json!({"system_prompt": "s", "question": "q", "response": "a"})),
        "system: s | user: q | assistant: a"
    );
    assert_eq!(error(json!({"question": "q", "answer": {}})), "'answer' must be a string, got an object");
}

#[test]
fn of_a_preference_the_chosen_side_is_read() {
    let chosen = json!([{"role": "assistant", "content": "a"}]);
    let whole = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    let text = |row| match read(row).sample {
        Sample::Text(text) => text,
        other => format!("{other:?}"),
    };
    assert_eq!(text(json!({"prompt": "q ", "chosen": "a", "rejected": "b"})), "q a");
    assert_eq!(text(json!({"chosen": "a", "rejected": "b"})), "a");
    assert_eq!(turns(json!({"prompt": "q", "chosen": chosen})), "user: q | assistant: a");
    assert_eq!(turns(json!({"prompt": [whole[0]], "chosen": chosen})), "user: q | assistant: a");
    assert_eq!(turns(json!({"prompt": "q", "chosen": whole})), "user: q | assistant: a");
    assert_eq!(turns(json!({"chosen": whole, "rejected": whole})), "user: q | assistant: a");
    assert_eq!(turns(json!({"prompt": [whole[0]], "completion": [whole[1]]})), "user: q | assistant: a");
}

#[test]
fn columns_of_the_template_are_its_variables_and_others_that_matter_are_named() {
    let row = json!({
        "messages": [], "tools": "[{\"name\": \"f\"}]", "documents": [], "enable_thinking": false,
        "chat_template_kwargs": {"date_string": "today"}, "id": 7, "images": ["a.png"], "videos": []
    });
    let Row { sample: Sample::Chat { variables, .. }, unread } = read(row) else { panic!() };
    let expected = json!({"date_string": "today", "tools": [{"name": "f"}], "enable_thinking": false});
    assert_eq!(Json::Object(variables), expected);
    assert_eq!(unread, ["images"]);
    assert_eq!(
        error(json!({"messages": [], "tools": "[{"})),
        "'tools' is text that is not JSON: EOF while parsing an object at line 1 column 2"
    );
    assert_eq!(error(json!({"messages": [], "tools": {}})), "'tools' must be an array, got an object");
    assert_eq!(
        error(json!({"messages": [], "enable_thinking": "no"})),
        "'enable_thinking' must be true or false, got a string"
    );
}

#[test]
fn ids_that_the_mask_hides_are_left_out() {
    let ids = |row| match read(row).sample {
        Sample::Ids(ids) => ids,
        _ => vec![],
    };
    assert_eq!(
        ids(json!({"input_ids": [0, 0, 5, 6], "attention_mask": [0, 0, 1, 1], "labels": [1]})),
        [5, 6]
    );
    assert_eq!(ids(json!({"input_ids": [5, 6], "attention_mask": [true, false]})), [5]);
    assert_eq!(ids(json!({"input_ids": [5, 6], "attention_mask": null})), [5, 6]);
    assert_eq!(
        error(json!({"input_ids": [5, 6], "attention_mask": [1]})),
        "'attention_mask' has 1 entries, wanted 2 as 'input_ids'"
    );
    assert_eq!(
        error(json!({"input_ids": [5], "attention_mask": [2]})),
        "'attention_mask[0]' must be 0 or 1, got 2"
    );
}

#[test]
fn null_counts_as_absent() {
    assert_eq!(read(json!({"messages": null, "text": "a"})).sample, Sample::Text("a".into()));
    assert_eq!(error(json!({"text": null})), "'text' must be a string, got null");
}
