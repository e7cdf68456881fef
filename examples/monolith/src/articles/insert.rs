//! Writing an article: one row for the fact, one for the content.

use sqlx::{FromRow, PgConnection};

use crate::timestamp::Micros;

const AGENT: i16 = 1;
const CUSTOMER: i16 = 3;

const EMAIL: i64 = 1;
const NOTE: i64 = 3;

/// An article to be written; the content's headers may be missing.
#[derive(Debug)]
pub(crate) struct NewArticle<'a> {
    pub(crate) ticket_id: i64,
    pub(crate) sender_type_id: i16,
    pub(crate) channel_id: i64,
    pub(crate) is_visible: bool,
    pub(crate) is_searchable: bool,
    pub(crate) from: Option<&'a str>,
    pub(crate) reply_to: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
    pub(crate) cc: Option<&'a str>,
    pub(crate) subject: &'a str,
    pub(crate) message_id: Option<&'a str>,
    pub(crate) in_reply_to: Option<&'a str>,
    pub(crate) references: Option<&'a str>,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a str,
    /// Seconds since 1970; now, if missing.
    pub(crate) incoming_time: Option<i32>,
    pub(crate) user_id: i32,
}

/// What the database made of an article.
#[derive(Debug, FromRow)]
pub(crate) struct Inserted {
    pub(crate) id: i64,
    pub(crate) create_time: Micros,
}

impl<'a> NewArticle<'a> {
    /// The text that a ticket begins with.
    pub(crate) fn from_customer(ticket_id: i64, body: &'a str, user_id: i32) -> Self {
        Self {
            sender_type_id: CUSTOMER,
            channel_id: EMAIL,
            is_visible: true,
            is_searchable: true,
            ..Self::notice(ticket_id, body, user_id)
        }
    }

    /// An internal note of the system about what an agent did; nobody searches for it.
    pub(crate) fn notice(ticket_id: i64, body: &'a str, user_id: i32) -> Self {
        Self {
            ticket_id,
            sender_type_id: AGENT,
            channel_id: NOTE,
            is_visible: false,
            is_searchable: false,
            from: None,
            reply_to: None,
            to: None,
            cc: None,
            subject: "",
            message_id: None,
            in_reply_to: None,
            references: None,
            content_type: "text/plain",
            body,
            incoming_time: None,
            user_id,
        }
    }

    /// Writes `article`, then `article_data_mime`.
    pub(crate) async fn insert(
        &self,
        transaction: &mut PgConnection,
    ) -> Result<Inserted, sqlx::Error> {
        let article: Inserted = sqlx::query_as(
            "INSERT INTO article (ticket_id, article_sender_type_id, communication_channel_id,
                                  is_visible_for_customer, search_index_needs_rebuild,
                                  create_time, create_by, change_time, change_by)
             VALUES ($1, $2, $3, $4, $5, now() AT TIME ZONE 'UTC', $6, now() AT TIME ZONE 'UTC', $6)
             RETURNING id, create_time",
        )
        .bind(self.ticket_id)
        .bind(self.sender_type_id)
        .bind(self.channel_id)
        .bind(i16::from(self.is_visible))
        .bind(i16::from(self.is_searchable))
        .bind(self.user_id)
        .fetch_one(&mut *transaction)
        .await?;
        self.insert_content(transaction, article.id).await?;
        Ok(article)
    }

    async fn insert_content(
        &self,
        transaction: &mut PgConnection,
        article_id: i64,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO article_data_mime (article_id, a_from, a_reply_to, a_to, a_cc, a_subject, a_message_id,
                                            a_message_id_md5, a_in_reply_to, a_references, a_content_type, a_body,
                                            incoming_time, create_time, create_by, change_time, change_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, md5($7), $8, $9, $10, $11,
                     COALESCE($12, extract(epoch FROM now())::integer),
                     now() AT TIME ZONE 'UTC', $13, now() AT TIME ZONE 'UTC', $13)",
        )
        .bind(article_id)
        .bind(self.from)
        .bind(self.reply_to)
        .bind(self.to)
        .bind(self.cc)
        .bind(self.subject)
        .bind(self.message_id)
        .bind(self.in_reply_to)
        .bind(self.references)
        .bind(self.content_type)
        .bind(self.body)
        .bind(self.incoming_time)
        .bind(self.user_id)
        .execute(transaction)
        .await?;
        Ok(())
    }
}
