// Stand-ins for the few engine types that the wrapper uses, so that it can be compiled and run without the engine. Names and
// signatures are the engine's; behaviour is that of std, in UTF-16 as on every platform of the engine.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

using int32 = std::int32_t;
using uint8 = std::uint8_t;
using uint32 = std::uint32_t;
using uint64 = std::uint64_t;
using TCHAR = char16_t;

#define TEXT(literal) u##literal
#define CROSSRANK_API
#define PLATFORM_WINDOWS 0

template <class T>
class TArray {
public:
    void Add(const T &item) { items.push_back(item); }
    void Append(const T *from, int32 count) { items.insert(items.end(), from, from + count); }
    void Reset() { items.clear(); }
    void SetNumZeroed(int32 count) { items.assign(static_cast<size_t>(count), T{}); }
    int32 Num() const { return static_cast<int32>(items.size()); }
    T *GetData() { return items.data(); }
    const T *GetData() const { return items.data(); }
    T &operator[](int32 i) { return items.at(static_cast<size_t>(i)); }
    const T &operator[](int32 i) const { return items.at(static_cast<size_t>(i)); }
    auto begin() const { return items.begin(); }
    auto end() const { return items.end(); }

private:
    std::vector<T> items;
};

template <class T>
class TArrayView {
public:
    TArrayView(T *data, int32 count) : data(data), count(count) {}
    TArrayView(const TArray<std::remove_const_t<T>> &array) : data(array.GetData()), count(array.Num()) {}
    T *GetData() const { return data; }
    int32 Num() const { return count; }
    T *begin() const { return data; }
    T *end() const { return data + count; }

private:
    T *data;
    int32 count;
};

template <class T>
class TOptional {
public:
    TOptional() = default;
    TOptional(T value) : value(value) {}
    bool IsSet() const { return value.has_value(); }
    const T &GetValue() const { return value.value(); }

private:
    std::optional<T> value;
};

class FString {
public:
    FString() = default;
    FString(const TCHAR *text) : text(text) {}
    const TCHAR *operator*() const { return text.c_str(); }
    int32 Len() const { return static_cast<int32>(text.size()); }

    // Knows %u alone.
    template <class... Numbers>
    static FString Printf(const TCHAR *format, Numbers... numbers) {
        FString out(format);
        for (uint32 number : {numbers...}) {
            const std::string digits = std::to_string(number);
            out.text.replace(out.text.find(u"%u"), 2, std::u16string(digits.begin(), digits.end()));
        }
        return out;
    }

private:
    std::u16string text;
};

class FTCHARToUTF8 {
public:
    explicit FTCHARToUTF8(const TCHAR *text) : FTCHARToUTF8(text, static_cast<int32>(std::u16string(text).size())) {}
    FTCHARToUTF8(const TCHAR *text, int32 length) {
        for (int32 i = 0; i < length; i++) {
            char32_t c = text[i];
            if (c >= 0xD800 && c < 0xDC00 && i + 1 < length) c = 0x10000 + ((c - 0xD800) << 10) + (text[++i] - 0xDC00u);
            if (c < 0x80) {
                bytes += static_cast<char>(c);
                continue;
            }
            int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
            bytes += static_cast<char>((0xF00 >> more) | (c >> (6 * more)));
            while (more-- > 0) bytes += static_cast<char>(0x80 | ((c >> (6 * more)) & 0x3F));
        }
    }
    const char *Get() const { return bytes.c_str(); }
    int32 Length() const { return static_cast<int32>(bytes.size()); }

private:
    std::string bytes;
};

class FUTF8ToTCHAR {
public:
    // Enough for messages of the library, which are ASCII except names of files.
    explicit FUTF8ToTCHAR(const char *utf8) : text(utf8, utf8 + std::strlen(utf8)) {}
    const TCHAR *Get() const { return text.c_str(); }

private:
    std::u16string text;
};

#define TCHAR_TO_UTF8(text) FTCHARToUTF8(text).Get()
#define UTF8_TO_TCHAR(text) FUTF8ToTCHAR(text).Get()
