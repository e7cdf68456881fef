//! A JSON document as it was written: numbers keep their text, members their order and number.
//! Strict as RFC 8259; anything else is not JSON.

use std::borrow::Cow;

/// Deeper documents are not JSON to us: comparing must not overflow the stack.
const DEPTH_MAX: usize = 128;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    /// The text of the number, never its value: `1.0` and `1` differ, and so do 19-digit ids.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Self>),
    Object(Vec<(Cow<'a, str>, Self)>),
}

/// Parses a whole document; `None` when it is not JSON.
pub(crate) fn parse(bytes: &[u8]) -> Option<Node<'_>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut cursor = Cursor { text, position: 0 };
    let node = cursor.value(0)?;
    cursor.skip_space();
    (cursor.position == text.len()).then_some(node)
}

struct Cursor<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.position += 1;
        Some(byte)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.position += usize::from(is_there);
        is_there
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.position += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<Node<'a>> {
        self.skip_space();
        match self.peek()? {
            b'{' | b'[' if depth == DEPTH_MAX => None,
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(Node::String),
            b't' => self.word("true", Node::Bool(true)),
            b'f' => self.word("false", Node::Bool(false)),
            b'n' => self.word("null", Node::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, node: Node<'a>) -> Option<Node<'a>> {
        self.text.get(self.position..)?.starts_with(word).then(|| {
            self.position += word.len();
            node
        })
    }

    fn object(&mut self, depth: usize) -> Option<Node<'a>> {
        self.position += 1;
        let mut members = Vec::new();
        self.skip_space();
        if self.eat(b'}') {
            return Some(Node::Object(members));
        }
        loop {
            self.skip_space();
            let key = (self.peek() == Some(b'"')).then(|| self.string())??;
            self.skip_space();
            self.eat(b':').then_some(())?;
            members.push((key, self.value(depth + 1)?));
            self.skip_space();
            match self.next()? {
                b',' => {}
                b'}' => return Some(Node::Object(members)),
                _ => return None,
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Node<'a>> {
        self.position += 1;
        let mut elements = Vec::new();
        self.skip_space();
        if self.eat(b']') {
            return Some(Node::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            self.skip_space();
            match self.next()? {
                b',' => {}
                b']' => return Some(Node::Array(elements)),
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<Node<'a>> {
        let start = self.position;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _signed = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        self.text.get(start..self.position).map(Node::Number)
    }

    /// At least one.
    fn digits(&mut self) -> Option<()> {
        let start = self.position;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.position += 1;
        }
        (self.position > start).then_some(())
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.position += 1;
        let start = self.position;
        let mut unescaped: Option<String> = None;
        loop {
            let from = self.position;
            while !matches!(self.peek()?, b'"' | b'\\' | 0..=0x1f) {
                self.position += 1;
            }
            let plain = self.text.get(from..self.position)?;
            if let Some(text) = &mut unescaped {
                text.push_str(plain);
            }
            match self.next()? {
                b'"' => {
                    let end = self.position.checked_sub(1)?;
                    let whole = self.text.get(start..end)?;
                    return Some(unescaped.map_or(Cow::Borrowed(whole), Cow::Owned));
                }
                b'\\' => {
                    let text = unescaped.get_or_insert_with(|| plain.to_owned());
                    let escaped = self.escape()?;
                    text.push(escaped);
                }
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return None,
        })
    }

    /// `\u1234`, or a pair of surrogates; a lone one is not JSON to us.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex4()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        (self.eat(b'\\') && self.eat(b'u')).then_some(())?;
        let second = self.hex4()?;
        (0xdc00..0xe000).contains(&second).then_some(())?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.position..self.position + 4)?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
        self.position += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
pub(crate) mod tests;
