# fish completion for welcomed

function __welcomed_words
    set -l words (commandline -opc) (commandline -ct | string unescape)
    set -l answer ($words[1] completion words $words[2..-1] 2>/dev/null)
    set -l parts (string match -rg -- '^((?:--[^=]*=)?)(.*)$' $words[-1])
    switch "$answer[1]"
        case files
            printf "$parts[1]%s\n" (__fish_complete_path $parts[2])
        case directories
            printf "$parts[1]%s\n" (__fish_complete_directories $parts[2])
    end
    if test (count $answer) -gt 1
        printf '%s\n' $answer[2..-1]
    end
end

complete -c welcomed -f -a '(__welcomed_words)'
