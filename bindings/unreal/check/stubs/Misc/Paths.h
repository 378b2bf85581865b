#pragma once
#include "CoreMinimal.h"
struct FPaths {
    static FString Combine(const FString &, const TCHAR *) { return FString(); }
};
