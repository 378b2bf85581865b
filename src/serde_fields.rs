//! How the feature `serde` writes and reads the fields that a derive cannot.

/// A number that is NaN where there is no score: null, because JSON has no NaN.
pub mod nan_as_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// NaN as null.
    pub fn serialize<T: Copy + Into<f64> + Serialize, S: Serializer>(
        number: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Some(*number).filter(|number| !(*number).into().is_nan()).serialize(serializer)
    }

    /// Null as NaN.
    pub fn deserialize<'de, T: Deserialize<'de> + From<f32>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(T::from(f32::NAN)))
    }
}

/// [`nan_as_null`] for a list of numbers.
pub mod nans_as_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Each NaN as null.
    pub fn serialize<T: Copy + Into<f64> + Serialize, S: Serializer>(
        numbers: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(|x| Some(*x).filter(|x| !(*x).into().is_nan())))
    }

    /// Each null as NaN.
    pub fn deserialize<'de, T: Deserialize<'de> + From<f32>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let numbers = Vec::<Option<T>>::deserialize(deserializer)?;
        Ok(numbers.into_iter().map(|number| number.unwrap_or(T::from(f32::NAN))).collect())
    }
}

/// Reads a name that has to be one of the library's own, because the field lives as long as the program.
pub fn one_of<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
    names: &'static [&'static str],
) -> Result<&'static str, D::Error> {
    let name = <String as serde::Deserialize>::deserialize(deserializer)?;
    let known = names.iter().find(|known| **known == name).copied();
    known.ok_or_else(|| serde::de::Error::unknown_variant(&name, names))
}
