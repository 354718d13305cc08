//! Writing values of any type.

use super::{Members, Type, Value, Writer};

impl Value {
    /// Returns the serialised form.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.put_value(self);
        writer.into_bytes()
    }
}

impl Writer {
    /// Writes `value`, a child of any type.
    pub fn put_value(&mut self, value: &Value) {
        self.put_typed(value, &value.ty());
    }

    /// Writes `value` in a variant.
    pub fn put_variant(&mut self, value: &Value) {
        let ty = value.ty();
        self.pad(8);
        self.put_typed(value, &ty);
        self.put(1, b"\0");
        self.put(1, ty.to_string().as_bytes());
    }

    /// Writes `value`, of which the type is known and need not be worked out at each level.
    fn put_typed(&mut self, value: &Value, ty: &Type) {
        match (value, ty) {
            (Value::Bool(value), _) => self.put(1, &[u8::from(*value)]),
            (Value::Byte(value), _) => self.put(1, &[*value]),
            (Value::I16(value), _) => self.put(2, &value.to_le_bytes()),
            (Value::U16(value), _) => self.put(2, &value.to_le_bytes()),
            (Value::I32(value) | Value::Handle(value), _) => self.put(4, &value.to_le_bytes()),
            (Value::U32(value), _) => self.put_u32(*value),
            (Value::I64(value), _) => self.put(8, &value.to_le_bytes()),
            (Value::U64(value), _) => self.put_u64(*value),
            (Value::Double(value), _) => self.put(8, &value.to_le_bytes()),
            (Value::Str(text) | Value::ObjectPath(text) | Value::Signature(text), _) => {
                self.put_str(text);
            }
            (Value::Variant(value), _) => self.put_variant(value),
            (Value::Maybe { element, value }, _) => {
                self.pad(element.alignment());
                if let Some(value) = value {
                    self.put_typed(value, element);
                    if element.fixed_size().is_none() {
                        self.put(1, b"\0");
                    }
                }
            }
            (Value::Bytes(bytes), _) => self.put(1, bytes),
            (Value::Array { element, values }, _) => self.put_array(element, values),
            (Value::Tuple(values), Type::Tuple(types)) if types.types().len() == values.len() => {
                self.put_members(types, ty, values.iter());
            }
            (Value::DictEntry(entry), Type::DictEntry(types)) => {
                self.put_members(types, ty, [&entry.0, &entry.1].into_iter());
            }
            // Only of an array whose elements are not of the type it claims.
            (Value::Tuple(_) | Value::DictEntry(_), _) => self.put_typed(value, &value.ty()),
        }
    }

    fn put_array(&mut self, element: &Type, values: &[Value]) {
        let layout = element.layout();
        let frame = self.begin(layout.align);
        for value in values {
            self.put_typed(value, element);
            if layout.fixed.is_none() {
                self.mark();
            }
        }
        self.end_array(frame);
    }

    fn put_members<'a>(
        &mut self,
        members: &Members,
        ty: &Type,
        values: impl ExactSizeIterator<Item = &'a Value>,
    ) {
        let frame = self.begin(ty.alignment());
        let last = values.len().saturating_sub(1);
        for (index, (value, member)) in values.zip(members.types()).enumerate() {
            self.put_typed(value, member);
            if index != last && member.fixed_size().is_none() {
                self.mark();
            }
        }
        self.end_members(frame, ty.layout());
    }
}
