//! Settings that are written once for all services, and where wanted anew for one.

/// Makes of one list of settings a `Config` with its defaults and serde's forms, and `Overrides`: the same settings, each
/// of which may be left out. `Config::with` puts them together.
///
/// | group | holds |
/// |---|---|
/// | `values` | settings, each with its default; replaced whole |
/// | `areas` | tables that are layered themselves: the module that holds their `Config` and `Overrides` |
/// | `alone` | what can't be said of one service |
macro_rules! layered {
    (
        $(#[$of_all:meta])*
        values { $( $(#[$of_value:meta])* $value:ident: $type:ty = $default:expr, )* }
        $( areas { $( $(#[$of_area:meta])* $area:ident: $($module:ident)::+, )* } )?
        $( alone { $( $(#[$of_other:meta])* $other:ident: $other_type:ty, )* } )?
    ) => {
        $(#[$of_all])*
        #[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
        #[serde(deny_unknown_fields, default)]
        #[non_exhaustive]
        pub struct Config {
            $( $(#[$of_value])* pub $value: $type, )*
            $($( $(#[$of_area])* pub $area: crate::$($module)::+::Config, )*)?
            $($( $(#[$of_other])* pub $other: $other_type, )*)?
        }

        /// What is different for one service; what is left out is as for all.
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
        #[serde(deny_unknown_fields, default)]
        #[non_exhaustive]
        pub struct Overrides {
            $( $(#[$of_value])* #[serde(skip_serializing_if = "Option::is_none")] pub $value: Option<$type>, )*
            $($(
                $(#[$of_area])*
                #[serde(skip_serializing_if = "crate::config::layered::is_default")]
                pub $area: crate::$($module)::+::Overrides,
            )*)?
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $( $value: $default, )*
                    $($( $area: Default::default(), )*)?
                    $($( $other: Default::default(), )*)?
                }
            }
        }

        impl Config {
            /// As it is, save for what `overrides` say.
            #[must_use]
            pub fn with(&self, overrides: &Overrides) -> Self {
                Self {
                    $( $value: overrides.$value.clone().unwrap_or_else(|| self.$value.clone()), )*
                    $($( $area: self.$area.with(&overrides.$area), )*)?
                    $($( $other: self.$other.clone(), )*)?
                }
            }

            $(
                /// Checks each area under its own key.
                fn check_areas(&self, findings: &mut mainstay_core::config::Findings) {
                    $(
                        findings.within(stringify!($area), |findings| {
                            mainstay_core::config::Section::check(&self.$area, findings);
                        });
                    )*
                }
            )?
        }
    };
}

pub(crate) use layered;

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
