//! What services and scopes are called.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The name of a scope, or the name under which one of several services of a type is registered.
///
/// Cheap to clone: a literal is kept as the reference it is, a computed name is shared.
#[derive(Clone)]
pub struct Name(Repr);

#[derive(Clone)]
enum Repr {
    Literal(&'static str),
    Shared(Arc<str>),
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Literal(text) => text,
            Repr::Shared(text) => text,
        }
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

// `Hash` and `Eq` are those of the text, so a map keyed by `Name` can be asked with a `&str`.
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Eq for Name {}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl From<&'static str> for Name {
    fn from(text: &'static str) -> Self {
        Self(Repr::Literal(text))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(Repr::Shared(text.into()))
    }
}

impl From<Arc<str>> for Name {
    fn from(text: Arc<str>) -> Self {
        Self(Repr::Shared(text))
    }
}

impl From<Cow<'static, str>> for Name {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

/// A name that is a type, so that a misspelt name does not compile.
///
/// ```
/// use service_container::NameKey;
///
/// struct Billing;
///
/// impl NameKey for Billing {
///     const NAME: &'static str = "billing";
/// }
/// ```
pub trait NameKey: Send + Sync + 'static {
    /// The text under which the service is registered and shown.
    const NAME: &'static str;
}

/// A service as errors, reports and graphs show it: its type, and its name when it has one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct ServiceName {
    /// The full path of the type, as the compiler writes it.
    pub type_name: &'static str,
    /// The name it was registered under, when it was.
    pub name: Option<Name>,
}

impl ServiceName {
    /// The service of type `T` registered without a name.
    #[must_use]
    pub fn of<T: ?Sized + 'static>() -> Self {
        Self {
            type_name: std::any::type_name::<T>(),
            name: None,
        }
    }

    /// The service of type `T` registered under `name`.
    #[must_use]
    pub fn named<T: ?Sized + 'static>(name: impl Into<Name>) -> Self {
        Self {
            type_name: std::any::type_name::<T>(),
            name: Some(name.into()),
        }
    }

    /// The type without the modules it stands in, and the name when there is one.
    #[must_use]
    pub fn short(&self) -> String {
        let short = without_modules(self.type_name);
        match &self.name {
            Some(name) => format!("{short}[{name}]"),
            None => short,
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}[{name}]", self.type_name),
            None => f.write_str(self.type_name),
        }
    }
}

/// Writes `a::B -> c::D`.
pub(crate) fn write_path(f: &mut fmt::Formatter<'_>, path: &[ServiceName]) -> fmt::Result {
    for (index, service) in path.iter().enumerate() {
        if index > 0 {
            f.write_str(" -> ")?;
        }
        write!(f, "{service}")?;
    }
    Ok(())
}

/// `a::b::C<d::E>` becomes `C<E>`.
fn without_modules(type_name: &str) -> String {
    let mut short = String::with_capacity(type_name.len());
    let mut word = String::new();
    let mut rest = type_name.chars().peekable();
    while let Some(character) = rest.next() {
        if character.is_alphanumeric() || "_{}".contains(character) {
            word.push(character);
        } else if character == ':' && rest.peek() == Some(&':') {
            rest.next();
            word.clear();
        } else {
            short.push_str(&word);
            word.clear();
            short.push(character);
        }
    }
    short.push_str(&word);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_text_whatever_holds_it() {
        let literal = Name::from("orders");
        let computed = Name::from(String::from("orders"));
        assert_eq!(literal, computed);
        assert_eq!(literal, "orders");
        let map = std::collections::HashMap::from([(computed, 1)]);
        assert_eq!(map.get("orders"), Some(&1));
    }

    #[test]
    fn short_names_drop_modules_inside_generics_too() {
        assert_eq!(without_modules("a::b::C<d::E, dyn f::G>"), "C<E, dyn G>");
        assert_eq!(without_modules("a::main::{{closure}}::B"), "B");
        assert_eq!(without_modules("u32"), "u32");
        assert_eq!(ServiceName::named::<String>("x").short(), "String[x]");
    }
}
