//! An article as a client sends it, and what it means.

use axum::http::StatusCode;
use kit::ApiError;
use serde::Deserialize;

use super::articles::{NewArticle, channel, sender};

/// An article as a client sends it; nearly everything has a default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are the names in the interface of the monolith")]
pub struct Draft {
    pub subject: String,
    pub body: String,
    pub content_type: Option<String>,
    pub article_type: Option<String>,
    #[serde(alias = "is_visible", alias = "is_visible_to_customer")]
    pub is_visible_for_customer: Option<bool>,
    pub article_sender_type_id: Option<i16>,
    pub sender_type: Option<String>,
    pub communication_channel_id: Option<i64>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub cc: Option<String>,
    pub reply_to: Option<String>,
    pub in_reply_to: Option<String>,
    pub references: Option<String>,
    pub message_id: Option<String>,
    pub incoming_time: Option<i32>,
}

impl Draft {
    /// The article that is meant: 400 without a body, or with a sender or channel that is none.
    pub(super) fn into_article(self) -> Result<NewArticle, ApiError> {
        if self.body.trim().is_empty() {
            return Err(bad("Article body is required"));
        }
        let sender_type_id = self.sender().ok_or_else(|| bad("Invalid sender type"))?;
        let channel_id = self.channel().ok_or_else(|| bad("Invalid communication channel"))?;
        Ok(NewArticle {
            sender_type_id,
            channel_id,
            is_visible: self.is_visible(),
            subject: self.subject,
            body: self.body,
            content_type: self.content_type.unwrap_or_else(|| "text/plain".to_owned()),
            from: self.from,
            to: self.to,
            cc: self.cc,
            reply_to: self.reply_to,
            in_reply_to: self.in_reply_to,
            references: self.references,
            message_id: self.message_id,
            received_at: self.incoming_time,
        })
    }

    fn sender(&self) -> Option<i16> {
        let named = match self.sender_type.as_deref() {
            None | Some("agent") => Some(sender::AGENT),
            Some("system") => Some(sender::SYSTEM),
            Some("customer") => Some(sender::CUSTOMER),
            Some(_) => None,
        };
        let known = sender::AGENT..=sender::CUSTOMER;
        self.article_sender_type_id.or(named).filter(|id| known.contains(id))
    }

    fn channel(&self) -> Option<i64> {
        let by_type = match self.article_type.as_deref() {
            Some("email" | "email-external" | "email-internal") => channel::EMAIL,
            Some("phone") => channel::PHONE,
            Some(_) | None => channel::NOTE,
        };
        let known = channel::EMAIL..=channel::CHAT;
        Some(self.communication_channel_id.unwrap_or(by_type)).filter(|id| known.contains(id))
    }

    fn is_visible(&self) -> bool {
        self.is_visible_for_customer.unwrap_or(matches!(
            self.article_type.as_deref(),
            Some("email" | "email-external" | "phone" | "note-external" | "webrequest")
        ))
    }
}

fn bad(message: &'static str) -> ApiError {
    ApiError::refused(StatusCode::BAD_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_and_visibility_follow_the_type_unless_they_are_said() {
        let cases = [
            (r#"{"body":"x"}"#, (channel::NOTE, false)),
            (r#"{"body":"x","article_type":"phone"}"#, (channel::PHONE, true)),
            (r#"{"body":"x","article_type":"email-internal"}"#, (channel::EMAIL, false)),
            (r#"{"body":"x","article_type":"email","is_visible":false}"#, (channel::EMAIL, false)),
            (r#"{"body":"x","is_visible_to_customer":true}"#, (channel::NOTE, true)),
            (r#"{"body":"x","communication_channel_id":4}"#, (channel::CHAT, false)),
        ];
        for (json, expected) in cases {
            let draft: Draft = serde_json::from_str(json).unwrap();
            let article = draft.into_article().unwrap();
            assert_eq!((article.channel_id, article.is_visible), expected, "{json}");
        }
    }

    #[test]
    fn senders_and_channels_that_do_not_exist_are_refused() {
        for (json, message) in [
            (r#"{"body":" "}"#, "Article body is required"),
            (r#"{"body":"x","sender_type":"robot"}"#, "Invalid sender type"),
            (r#"{"body":"x","article_sender_type_id":4}"#, "Invalid sender type"),
            (r#"{"body":"x","communication_channel_id":9}"#, "Invalid communication channel"),
        ] {
            let draft: Draft = serde_json::from_str(json).unwrap();
            assert_eq!(draft.into_article().unwrap_err().to_string(), message, "{json}");
        }
    }
}
