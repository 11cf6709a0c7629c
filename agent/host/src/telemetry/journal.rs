//! Events as entries of the journal: each value is a field of its own, and the fields of the spans
//! around an event are fields of its entry.

use std::fmt::{self, Debug};

use log::kv::{Key, Source, Value, VisitSource};
use systemd_journal_logger::JournalLog;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::redact::Redactor;

/// Sends events to the journal.
pub(super) struct Journal {
    log: JournalLog,
    redactor: Redactor,
}

impl Journal {
    pub(super) fn connect(redactor: Redactor) -> std::io::Result<Self> {
        Ok(Self { log: JournalLog::new()?, redactor })
    }
}

impl Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

/// The values of an event or a span.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) values: Vec<(&'static str, String)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            // Where a `log` record comes from is in the entry's own fields.
            name if name.starts_with("log.") => (),
            name => self.values.push((name, value)),
        }
    }

    /// Takes over what a span around this one says of other things.
    fn inherit(&mut self, outer: &Self) {
        for (name, value) in &outer.values {
            if !self.values.iter().any(|(have, _)| have == name) {
                self.values.push((name, value.clone()));
            }
        }
    }

    fn redact(&mut self, redactor: &Redactor) {
        for text in self.values.iter_mut().map(|(_, it)| it).chain([&mut self.message]) {
            *text = redactor.text(text).into_owned();
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl Source for Fields {
    fn visit<'kvs>(&'kvs self, out: &mut dyn VisitSource<'kvs>) -> Result<(), log::kv::Error> {
        self.values.iter().try_for_each(|(name, value)| {
            out.visit_pair(Key::from_str(name), Value::from(value.as_str()))
        })
    }
}

/// An event with all that the spans around it say, the innermost first.
pub(super) fn collect<S>(event: &Event<'_>, context: &Context<'_, S>) -> Fields
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let mut fields = Fields::default();
    event.record(&mut fields);
    for span in context.event_scope(event).into_iter().flatten() {
        if let Some(outer) = span.extensions().get::<Fields>() {
            fields.inherit(outer);
        }
    }
    fields
}

pub(super) fn remember<S>(attributes: &Attributes<'_>, id: &Id, context: &Context<'_, S>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if let Some(span) = context.span(id) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }
}

pub(super) fn amend<S>(id: &Id, record: &Record<'_>, context: &Context<'_, S>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if let Some(span) = context.span(id)
        && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
    {
        record.record(fields);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        remember(attributes, id, &context);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        amend(id, record, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = collect(event, &context);
        fields.redact(&self.redactor);
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let level = match *metadata.level() {
            tracing::Level::ERROR => log::Level::Error,
            tracing::Level::WARN => log::Level::Warn,
            tracing::Level::INFO => log::Level::Info,
            tracing::Level::DEBUG => log::Level::Debug,
            tracing::Level::TRACE => log::Level::Trace,
        };
        let sent = self.log.journal_send(
            &log::Record::builder()
                .level(level)
                .target(metadata.target())
                .file(metadata.file())
                .line(metadata.line())
                .args(format_args!("{}", fields.message))
                .key_values(&fields)
                .build(),
        );
        // There is no other place to say it, and a full journal must not stop the program.
        drop(sent);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps what the journal would get.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Fields>>>, Redactor);

    impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Kept {
        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            remember(attributes, id, &context);
        }

        fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
            amend(id, record, &context);
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            let mut fields = collect(event, &context);
            fields.redact(&self.1);
            self.0.lock().unwrap().push(fields);
        }
    }

    #[test]
    fn an_entry_has_the_values_of_its_spans_the_nearest_first_and_no_secret() {
        let kept = Kept::default();
        let _live = kept.1.register(["hunter22"]);
        let subscriber = tracing_subscriber::registry().with(kept.clone());
        tracing::subscriber::with_default(subscriber, || {
            let outer =
                tracing::info_span!("outer", node = "a", app = "web", late = tracing::field::Empty);
            outer.record("late", 7);
            let _outer = outer.entered();
            let _inner = tracing::info_span!("inner", app = "api").entered();
            tracing::info!(password = "hunter22", "two\nlines");
        });
        let kept = kept.0.lock().unwrap();
        let Fields { message, values } = &kept[0];
        assert_eq!(message, "two\nlines");
        let expected = [("password", "[redacted]"), ("app", "api"), ("node", "a"), ("late", "7")];
        assert_eq!(*values, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
