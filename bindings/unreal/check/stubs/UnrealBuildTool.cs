// Stand-ins for what Crossrank.Build.cs uses of UnrealBuildTool.
using System;
using System.Collections.Generic;

namespace UnrealBuildTool
{
    public struct UnrealTargetPlatform
    {
        private readonly string name;

        private UnrealTargetPlatform(string name) { this.name = name; }

        public static readonly UnrealTargetPlatform Win64 = new UnrealTargetPlatform("Win64");
        public static readonly UnrealTargetPlatform Linux = new UnrealTargetPlatform("Linux");
        public static readonly UnrealTargetPlatform LinuxArm64 = new UnrealTargetPlatform("LinuxArm64");
        public static readonly UnrealTargetPlatform Mac = new UnrealTargetPlatform("Mac");
        public static readonly UnrealTargetPlatform Android = new UnrealTargetPlatform("Android");
        public static readonly UnrealTargetPlatform IOS = new UnrealTargetPlatform("IOS");

        public static bool operator ==(UnrealTargetPlatform a, UnrealTargetPlatform b) { return a.name == b.name; }
        public static bool operator !=(UnrealTargetPlatform a, UnrealTargetPlatform b) { return a.name != b.name; }
        public override bool Equals(object other) { return other is UnrealTargetPlatform && this == (UnrealTargetPlatform)other; }
        public override int GetHashCode() { return name.GetHashCode(); }
        public override string ToString() { return name; }
    }

    public class ReadOnlyTargetRules { public UnrealTargetPlatform Platform; }

    public class BuildException : Exception { public BuildException(string message) : base(message) { } }

    public class RuntimeDependencyList
    {
        public readonly List<string> All = new List<string>();
        public void Add(string path) { All.Add(path); }
    }

    public class ModuleRules
    {
        public enum PCHUsageMode { UseExplicitOrSharedPCHs }

        public ModuleRules(ReadOnlyTargetRules target) { }
        public PCHUsageMode PCHUsage;
        public string PluginDirectory = "Plugin";
        public readonly List<string> PublicDependencyModuleNames = new List<string>();
        public readonly List<string> PrivateDependencyModuleNames = new List<string>();
        public readonly List<string> PrivateIncludePaths = new List<string>();
        public readonly List<string> PublicAdditionalLibraries = new List<string>();
        public readonly List<string> PublicDelayLoadDLLs = new List<string>();
        public readonly RuntimeDependencyList RuntimeDependencies = new RuntimeDependencyList();
    }
}
