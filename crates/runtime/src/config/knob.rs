//! A setting, declared in one line: its TOML key, flag, variable, type, default and help text.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use betanet_carrier::disk;
use betanet_htx::pace::Padding;
use betanet_keys::{Name, Peer};
use betanet_mesh::{Role, Roles};
use betanet_traffic::shape::{Shape, ShapeError};
use betanet_traffic::template::front::Profile;

use super::{Found, GatewayConfig, Server11};
use crate::{LogFormat, OriginProxy};

/// The roles that this program implements.
pub(crate) const BUILT: [Role; 5] = [
    Role::Entry,
    Role::Core,
    Role::Mix,
    Role::Gateway,
    Role::Seed,
];

/// Number of values of a setting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A switch: on or off.
    Switch,
    /// One value.
    One,
    /// A list of values.
    Many,
}

/// The TOML type of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number,
    /// A text in quotes.
    Text,
}

/// A setting: its names in a file, on the command line and in the environment.
#[derive(Clone, Debug)]
pub struct Knob {
    /// TOML table of its section.
    pub table: &'static str,
    /// Heading of its section.
    pub title: &'static str,
    /// Key within the table.
    pub field: &'static str,
    /// Name at the file's top level, unique across all sections.
    pub name: &'static str,
    /// Flag without the dashes. By default it is the name with `-` for `_`.
    pub flag: String,
    /// Name of its environment variable.
    pub variable: String,
    /// Placeholder of its value in `--help`; empty for a switch.
    pub value: &'static str,
    /// Help text.
    pub help: String,
    /// Number of values.
    pub kind: Kind,
    /// For a switch, the value that its flag sets: the opposite of its default.
    pub flips_to: bool,
    /// The default, if it is shown.
    pub default: Option<String>,
    /// Whether the value is a secret, which is not shown.
    pub secret: bool,
    /// TOML type of the value, or of each value of a list.
    pub form: Form,
}

/// The reason why a text is invalid. It says which values are allowed.
pub(crate) type Allowed = Cow<'static, str>;

/// A type of a single value.
pub(crate) trait Scalar: Sized {
    const FORM: Form = Form::Text;
    const SECRET: bool = false;

    fn from_text(text: &str) -> Result<Self, Allowed>;

    fn from_os(text: &OsStr) -> Result<Self, Allowed> {
        Self::from_text(text.to_str().ok_or("UTF-8 text")?)
    }

    /// Returns the value if it is worth showing as a default.
    fn shown(&self) -> Option<String> {
        None
    }
}

/// The type of a setting.
pub(crate) trait Setting: Sized {
    const KIND: Kind;
    const FORM: Form;
    const SECRET: bool;

    fn read(texts: &[OsString]) -> Result<Self, Allowed>;

    fn shown(&self) -> Option<String>;
}

impl<T: Scalar> Setting for T {
    const KIND: Kind = match T::FORM {
        Form::Switch => Kind::Switch,
        Form::Number | Form::Text => Kind::One,
    };
    const FORM: Form = T::FORM;
    const SECRET: bool = T::SECRET;

    fn read(texts: &[OsString]) -> Result<Self, Allowed> {
        T::from_os(texts.last().map_or(OsStr::new(""), OsString::as_os_str))
    }

    fn shown(&self) -> Option<String> {
        Scalar::shown(self)
    }
}

impl<T: Scalar> Setting for Option<T> {
    const KIND: Kind = Kind::One;
    const FORM: Form = T::FORM;
    const SECRET: bool = T::SECRET;

    fn read(texts: &[OsString]) -> Result<Self, Allowed> {
        T::read(texts).map(Some)
    }

    fn shown(&self) -> Option<String> {
        self.as_ref().and_then(Scalar::shown)
    }
}

impl<T: Scalar> Setting for Vec<T> {
    const KIND: Kind = Kind::Many;
    const FORM: Form = T::FORM;
    const SECRET: bool = T::SECRET;

    fn read(texts: &[OsString]) -> Result<Self, Allowed> {
        let one = |text: &OsString| {
            T::from_os(text).map_err(|why| match texts {
                [_] => why,
                _ => format!("{}: {why}", text.display()).into(),
            })
        };
        texts.iter().map(one).collect()
    }

    fn shown(&self) -> Option<String> {
        let all: Vec<String> = self.iter().filter_map(Scalar::shown).collect();
        (!all.is_empty()).then(|| all.join(","))
    }
}

impl Setting for Roles {
    const KIND: Kind = Kind::Many;
    const FORM: Form = Form::Text;
    const SECRET: bool = false;

    fn read(texts: &[OsString]) -> Result<Self, Allowed> {
        let built: Vec<&str> = BUILT.iter().map(|role| role.name()).collect();
        let mut roles = Vec::new();
        for text in texts {
            match text.to_str().and_then(Role::of) {
                Some(role) if BUILT.contains(&role) => roles.push(role),
                Some(role) => {
                    let role = role.name();
                    let why = format!("no node acts on the role {role} yet: leave it out");
                    return Err(why.into());
                }
                None => {
                    let text = text.display();
                    let why = format!("{text} is no role: a role is {}", built.join(", "));
                    return Err(why.into());
                }
            }
        }
        Ok(roles.into_iter().collect())
    }

    fn shown(&self) -> Option<String> {
        let names: Vec<&str> = self.iter().map(Role::name).collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

impl Scalar for bool {
    const FORM: Form = Form::Switch;

    fn from_text(text: &str) -> Result<Self, Allowed> {
        match text {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("true or false".into()),
        }
    }
}

macro_rules! numbers {
    ($($ty:ty)*) => {
        $(impl Scalar for $ty {
            const FORM: Form = Form::Number;

            fn from_text(text: &str) -> Result<Self, Allowed> {
                let allowed = || format!("a whole number, 0 to {}", <$ty>::MAX);
                text.parse().map_err(|_| allowed().into())
            }

            fn shown(&self) -> Option<String> {
                Some(self.to_string())
            }
        })*
    };
}

numbers! { u16 u32 u64 usize }

impl Scalar for String {
    fn from_text(text: &str) -> Result<Self, Allowed> {
        Ok(text.to_owned())
    }

    fn shown(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.clone())
    }
}

impl Scalar for PathBuf {
    fn from_text(text: &str) -> Result<Self, Allowed> {
        Self::from_os(OsStr::new(text))
    }

    fn from_os(text: &OsStr) -> Result<Self, Allowed> {
        Ok(Self::from(text))
    }
}

impl Scalar for IpAddr {
    fn from_text(text: &str) -> Result<Self, Allowed> {
        text.parse().map_err(|_| "a local IP address".into())
    }
}

impl Scalar for SocketAddr {
    fn from_text(text: &str) -> Result<Self, Allowed> {
        let allowed = "a loopback address and port, as 127.0.0.1:9090";
        text.parse().map_err(|_| allowed.into())
    }
}

impl Scalar for Duration {
    const FORM: Form = Form::Number;

    fn from_text(text: &str) -> Result<Self, Allowed> {
        let ms = text.parse().map_err(|_| "milliseconds, 1 to 1000")?;
        Ok(Self::from_millis(ms))
    }
}

impl Scalar for Name {
    fn from_text(text: &str) -> Result<Self, Allowed> {
        let allowed = "a name is bn1: and 39 characters";
        text.parse().map_err(|_| allowed.into())
    }
}

impl Scalar for Peer {
    fn from_text(text: &str) -> Result<Self, Allowed> {
        text.parse()
            .map_err(|why: betanet_keys::PeerError| why.to_string().into())
    }
}

impl Scalar for Padding {
    fn from_text(text: &str) -> Result<Self, Allowed> {
        let allowed =
            "buckets, a rate as 64k or 1m bytes a second, or two as 16k..1m; from 4k to 64m";
        text.parse().map_err(|_| allowed.into())
    }
}

impl Scalar for Profile {
    fn from_text(text: &str) -> Result<Self, Allowed> {
        let profile = Self::of_name(&text.to_ascii_uppercase());
        profile.ok_or_else(|| "standard or extended".into())
    }

    fn shown(&self) -> Option<String> {
        let name = match self {
            Self::Standard => "standard",
            Self::Extended => "extended",
        };
        Some(name.into())
    }
}

impl Scalar for LogFormat {
    fn from_text(text: &str) -> Result<Self, Allowed> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("text or json".into()),
        }
    }

    fn shown(&self) -> Option<String> {
        let name = match self {
            Self::Text => "text",
            Self::Json => "json",
        };
        Some(name.into())
    }
}

impl Scalar for OriginProxy {
    fn from_text(text: &str) -> Result<Self, Allowed> {
        let allowed = "https://HOST[:PORT] or http://HOST[:PORT], without a path";
        Self::new(text).map_err(|_| allowed.into())
    }
}

impl Scalar for Server11 {
    const SECRET: bool = true;

    fn from_text(text: &str) -> Result<Self, Allowed> {
        text.parse().map_err(|why: &'static str| why.into())
    }
}

impl Scalar for Shape {
    fn from_text(text: &str) -> Result<Self, Allowed> {
        Self::from_os(OsStr::new(text))
    }

    fn from_os(text: &OsStr) -> Result<Self, Allowed> {
        let path = PathBuf::from(text);
        match disk::read_bounded(&path, disk::CAPTURE_MAX).map(|b| Self::from_bytes(&b)) {
            Ok(Ok(shape)) => Ok(shape),
            Ok(Err(ShapeError::Version)) => {
                Err("a shape of today's format: `betanet shape learn` writes it anew".into())
            }
            _ => Err("a file that `betanet shape learn` wrote".into()),
        }
    }
}

/// The settings of one component.
pub(crate) trait Section: Default {
    /// Returns the declarations of its settings.
    fn knobs() -> Vec<Knob>;

    /// Parses the setting of that name. Returns `None` if the section has no such setting.
    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>>;

    /// Reports faults of the values, without reading the files that they name.
    fn check(&self, all: &GatewayConfig, found: &mut Found<'_>);

    /// Reports faults of the named files, folders and addresses. Creates no file, binds no port, and sends nothing.
    fn look(&self, all: &GatewayConfig, found: &mut Found<'_>);
}

/// Returns the help of a setting: its doc comment, on one line.
pub(crate) fn help(lines: &[&str], kind: Kind) -> String {
    let lines: Vec<&str> = lines.iter().map(|l| l.trim()).collect();
    let mut text = lines.join(" ").replace('`', "");
    if kind == Kind::Many {
        text.push_str(" May be repeated.");
    }
    text
}

/// Declares a section: a struct of settings with defaults, and the name, flag, variable and help of each.
///
/// A setting is `field "name" "VALUE": Type = default;`, and its doc comment is its help. `as "flag"` after the placeholder sets
/// another name for the flag. A `+` begins a field that is not a setting and is only set by code.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $section:ident $table:literal $title:literal {
            $(
                $(#[doc = $doc:literal])*
                $field:ident $name:literal $value:literal $(as $flag:literal)? : $ty:ty = $default:expr;
            )*
            $(+ $(#[doc = $plain_doc:literal])* $plain:ident : $plain_ty:ty = $plain_default:expr;)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub struct $section {
            $($(#[doc = $doc])* pub $field: $ty,)*
            $($(#[doc = $plain_doc])* pub $plain: $plain_ty,)*
        }

        impl Default for $section {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    $($plain: $plain_default,)*
                }
            }
        }

        impl $section {
            fn declared() -> Vec<$crate::config::knob::Knob> {
                use $crate::config::knob::{Knob, Setting};
                let default = Self::default();
                vec![$({
                    let kind = <$ty as Setting>::KIND;
                    let mut knob = Knob {
                        table: $table,
                        title: $title,
                        field: stringify!($field),
                        name: $name,
                        flag: $name.replace('_', "-"),
                        variable: format!("BETANET_{}", $name.to_ascii_uppercase()),
                        value: $value,
                        help: $crate::config::knob::help(&[$($doc),*], kind),
                        kind,
                        flips_to: $crate::config::knob::flips_to(&default.$field),
                        default: Setting::shown(&default.$field),
                        form: <$ty as Setting>::FORM,
                        secret: <$ty as Setting>::SECRET,
                    };
                    if kind == $crate::config::knob::Kind::Switch && !knob.flips_to {
                        knob.flag.insert_str(0, "no-");
                    }
                    $(knob.flag = $flag.into();)?
                    knob
                }),*]
            }

            fn put(
                &mut self,
                name: &str,
                texts: &[std::ffi::OsString],
            ) -> Option<Result<(), $crate::config::knob::Allowed>> {
                use $crate::config::knob::Setting;
                match name {
                    $($name => Some(<$ty as Setting>::read(texts).map(|value| self.$field = value)),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use section;

/// Returns the opposite of a switch's default, and `true` for other types.
pub(crate) fn flips_to(default: &dyn std::any::Any) -> bool {
    default.downcast_ref::<bool>().is_none_or(|on| !on)
}
