#pragma once
#include "CoreMinimal.h"
struct IPlugin {
    FString GetBaseDir() const { return FString(); }
};
struct IPluginManager {
    static IPluginManager &Get() {
        static IPluginManager manager;
        return manager;
    }
    IPlugin *FindPlugin(const TCHAR *) { return &plugin; }
    IPlugin plugin;
};
