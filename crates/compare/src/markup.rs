//! An HTML page as a tree of what its tokens say: elements, attributes, text. Not the tree a browser
//! would repair it to, but the same one for the same tokens, which is all a comparison needs. Comments
//! and spaces between elements are left out.

use html5gum::{DefaultEmitter, HtmlString, StartTag, Token, Tokenizer};

/// Elements deeper than this are kept beside each other: comparing must not overflow the stack.
const DEPTH_MAX: usize = 128;

/// Elements that have no end tag.
const VOID: [&str; 13] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
    "wbr",
];

/// Elements in which spaces and line ends mean something.
const VERBATIM: [&str; 4] = ["pre", "script", "style", "textarea"];

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Element(Element),
    /// Text whose runs of spaces are one space; never empty.
    Text(String),
    /// Text as it stands, of an element that keeps lines.
    Verbatim(String),
}

/// An element with everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    /// In lower case.
    pub(crate) name: String,
    /// Sorted by name; of a repeated one the first.
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Piece>,
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Takes any text: what is no tag is text.
pub(crate) fn parse(text: &str) -> Vec<Piece> {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let mut page = Page::default();
    for Ok(token) in Tokenizer::new_with_emitter(text, emitter) {
        match token {
            Token::StartTag(tag) => page.start(&tag),
            Token::EndTag(tag) => page.end(&owned(&tag.name)),
            Token::String(text) => page.text.push_str(&owned(&text)),
            Token::Doctype(doctype) => {
                page.flush();
                let name = format!("!doctype {}", owned(&doctype.name));
                page.push(Piece::Element(Element {
                    name,
                    attributes: Vec::new(),
                    children: Vec::new(),
                }));
            }
            Token::Comment(_) | Token::Error(_) => {}
        }
    }
    page.finish()
}

#[derive(Debug, Default)]
struct Page {
    /// Elements whose end has not come yet, outermost first.
    open: Vec<Element>,
    done: Vec<Piece>,
    /// Text since the last tag.
    text: String,
}

impl Page {
    fn start(&mut self, tag: &StartTag<()>) {
        self.flush();
        let attributes = tag.attributes.iter().map(|(name, value)| (owned(name), owned(value)));
        let (attributes, name) = (attributes.collect(), owned(&tag.name));
        let is_leaf =
            tag.self_closing || VOID.contains(&name.as_str()) || self.open.len() == DEPTH_MAX;
        let element = Element { name, attributes, children: Vec::new() };
        if is_leaf {
            self.push(Piece::Element(element));
        } else {
            self.open.push(element);
        }
    }

    /// Closes the innermost element of that name with all in it; without one the tag means nothing.
    fn end(&mut self, name: &str) {
        self.flush();
        if let Some(depth) = self.open.iter().rposition(|element| element.name == name) {
            self.close(depth);
        }
    }

    fn close(&mut self, depth: usize) {
        while self.open.len() > depth {
            if let Some(element) = self.open.pop() {
                self.push(Piece::Element(element));
            }
        }
    }

    fn push(&mut self, piece: Piece) {
        match self.open.last_mut() {
            Some(element) => element.children.push(piece),
            None => self.done.push(piece),
        }
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let is_verbatim = self.open.iter().any(|each| VERBATIM.contains(&each.name.as_str()));
        if is_verbatim {
            if !text.is_empty() {
                self.push(Piece::Verbatim(text));
            }
            return;
        }
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        if !words.is_empty() {
            self.push(Piece::Text(words.join(" ")));
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        self.flush();
        self.close(0);
        self.done
    }
}

fn owned(text: &HtmlString) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One element a pair of brackets, attributes before what is in it.
    fn shown(pieces: &[Piece]) -> String {
        let one = |piece: &Piece| match piece {
            Piece::Text(text) => format!("'{text}'"),
            Piece::Verbatim(text) => format!("{text:?}"),
            Piece::Element(Element { name, attributes, children }) => {
                let attributes = attributes.iter().map(|(key, value)| format!(" {key}={value}"));
                format!("<{name}{}>({})", attributes.collect::<String>(), shown(children))
            }
        };
        pieces.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn tags_become_a_tree_whatever_is_left_out() {
        let cases = [
            ("<p>a  b\n</p> <p>c", "<p>('a b') <p>('c')"),
            ("<P Class=x ID='1'>a<br>b", "<p class=x id=1>('a' <br>() 'b')"),
            ("<ul><li>a</ul>b</p>", "<ul>(<li>('a')) 'b'"),
            ("a<!-- c -->b", "'ab'"),
            ("<script>if (a<b)\n {}</script>", "<script>(\"if (a<b)\\n {}\")"),
            ("&lt;&amp;&eacute;", "'<&é'"),
            ("<!DOCTYPE HTML><html>", "<!doctype html>() <html>()"),
        ];
        for (text, tree) in cases {
            assert_eq!(shown(&parse(text)), tree, "{text}");
        }
    }

    #[test]
    fn a_page_as_deep_as_it_likes_is_kept_whole() {
        let parsed = parse(&"<i>".repeat(100_000));
        fn count(pieces: &[Piece]) -> usize {
            let one = |piece: &Piece| match piece {
                Piece::Element(element) => 1 + count(&element.children),
                Piece::Text(_) | Piece::Verbatim(_) => 0,
            };
            pieces.iter().map(one).sum()
        }
        assert_eq!(count(&parsed), 100_000);
    }
}
